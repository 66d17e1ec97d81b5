"""The schema that the migrations make is the one the code expects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from lastgood.store import migrate
from lastgood.store.database import SqlStore
from lastgood.store.revision import HEAD, REVISIONS
from lastgood.store.tables import metadata

OPEN = """
import sys
from pathlib import Path
from lastgood.clock import SystemClock
from lastgood.store.database import open_store
store = open_store(Path(sys.argv[1]), SystemClock())
with store.read() as work:
    work.rollouts.open()
raise SystemExit("alembic was imported" if "alembic" in sys.modules else 0)
"""


def test_the_constants_name_what_the_scripts_are() -> None:
    scripts = ScriptDirectory.from_config(migrate.config())
    assert scripts.get_current_head() == HEAD
    assert tuple(s.revision for s in reversed(list(scripts.walk_revisions()))) == REVISIONS


def test_migrated_and_declared_schema_are_the_same(store: SqlStore) -> None:
    engine = create_engine(f"sqlite:///{store.file}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        deferred = connection.scalars(text("SELECT sql FROM sqlite_master WHERE sql LIKE '%REFERENCES%'"))
        assert all("DEFERRABLE INITIALLY DEFERRED" in statement for statement in deferred)
        counted = "SELECT count(*) FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"
        wanted = [t for t in metadata.tables.values() if t.dialect_options["sqlite"]["autoincrement"]]
        assert connection.scalar(text(counted)) == len(wanted) > 0
    engine.dispose()


def test_an_existing_state_is_opened_without_alembic(store: SqlStore, state: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", OPEN, str(state)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
