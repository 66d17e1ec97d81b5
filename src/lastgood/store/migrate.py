"""Bring the schema to this code's head, in one transaction. Imports Alembic, so: only when needed."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

_one_at_a_time = threading.Lock()


def config(connection: Connection | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent / "alembic").replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def upgrade(connection: Connection) -> None:
    """``connection`` is in a transaction of the caller's, who commits."""
    # Alembic keeps the migration under way in module globals.
    with _one_at_a_time:
        command.upgrade(config(connection), "head")
