"""Connections to the SQLite file, set up the one way that keeps its promises."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

Connect = Callable[[], sqlite3.Connection]


def connector(file: Path, mode: str, wait: float) -> Connect:
    """Opens connections in ``mode`` (rw: for writing; query: rw file, but no writes; ro; immutable).

    Never creates the file: a database that is gone must be noticed. ``wait`` seconds for a lock.
    """
    flags = {"rw": "mode=rw", "query": "mode=rw", "ro": "mode=ro", "immutable": "mode=ro&immutable=1"}
    address = f"file:{quote(str(file.absolute()))}?{flags[mode]}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            address, uri=True, timeout=wait, isolation_level=None, check_same_thread=False
        )
        try:
            if mode == "rw":
                # Persistent, so this writes only once; FULL: a commit survives a power failure.
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
            else:
                connection.execute("PRAGMA query_only=ON")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    return connect


def engine(connect: Connect, begin: str) -> Engine:
    """An engine whose transactions open with the statement ``begin``.

    The driver is in autocommit mode, because its own idea of when a transaction begins would leave
    schema changes outside of it.
    """
    made = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=2,
        max_overflow=-1,
        hide_parameters=True,
    )

    @event.listens_for(made, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return made
