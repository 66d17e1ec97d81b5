"""The revision table: which migrations this database has had."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lastgood.drivers.mariadb.connection import PREFIX, Connection, one, rows, run

TABLE = f"{PREFIX}revisions"

CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    seq bigint unsigned AUTO_INCREMENT PRIMARY KEY,
    name varchar(255) NOT NULL UNIQUE,
    digest varchar(100) NOT NULL,
    `key` text NOT NULL,
    deployed_at datetime(6) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""


@dataclass(frozen=True)
class Revision:
    """A deployed migration, with the key of the rollout's step that deployed it; the time is in UTC."""

    name: str
    digest: str
    key: str
    deployed_at: str


def lock_name(database: str) -> str:
    """Of the lock that lets one migration at a time into a database; the server bounds its length."""
    return "lastgood." + hashlib.sha256(database.encode()).hexdigest()[:40]


def exists(connection: Connection, table: str) -> bool:
    """Whether the present database has it."""
    query = "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s"
    return one(connection, query, table) is not None


def read(connection: Connection) -> tuple[Revision, ...]:
    """Oldest first; a database that never had one has none."""
    if not exists(connection, TABLE):
        return ()
    query = f"SELECT name, digest, `key`, CAST(deployed_at AS char) FROM {TABLE} ORDER BY seq"
    return tuple(Revision(*row) for row in rows(connection, query))


def prepare(connection: Connection) -> None:
    """Have the table; asked first, because CREATE … IF NOT EXISTS demands rights even when it's there."""
    if not exists(connection, TABLE):
        run(connection, CREATE)


def add(connection: Connection, name: str, digest: str, key: str) -> None:
    run(
        connection,
        f"INSERT INTO {TABLE} (name, digest, `key`, deployed_at) VALUES (%s, %s, %s, UTC_TIMESTAMP(6))",
        name,
        digest,
        key,
    )


def remove(connection: Connection, name: str) -> None:
    run(connection, f"DELETE FROM {TABLE} WHERE name = %s", name)
