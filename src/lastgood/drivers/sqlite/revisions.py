"""The revision table: which migrations this database has had."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from lastgood.drivers.sqlite.connection import PREFIX, Connection, exists, one, rows

TABLE = f"{PREFIX}revisions"

_CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL,
    key TEXT NOT NULL,
    added TEXT NOT NULL,
    deployed_at TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class Revision:
    """A deployed migration, with the key of the rollout's step that deployed it; the time is in UTC."""

    name: str
    digest: str
    key: str
    deployed_at: str


def read(connection: Connection) -> tuple[Revision, ...]:
    """Oldest first; a database that never had one has none."""
    if not exists(connection, TABLE):
        return ()
    query = f"SELECT name, digest, key, deployed_at FROM {TABLE} ORDER BY seq"
    return tuple(Revision(*row) for row in rows(connection, query))


def added(connection: Connection, name: str) -> str:
    """What the migration added, as it was noted with it."""
    return str(one(connection, f"SELECT added FROM {TABLE} WHERE name = ?", name))


def add(connection: Connection, name: str, digest: str, key: str, added: str) -> None:
    connection.execute(_CREATE)
    connection.execute(
        f"INSERT INTO {TABLE} (name, digest, key, added, deployed_at) VALUES (?, ?, ?, ?, ?)",
        (name, digest, key, added, datetime.now(UTC).isoformat()),
    )


def remove(connection: Connection, name: str) -> None:
    connection.execute(f"DELETE FROM {TABLE} WHERE name = ?", (name,))
