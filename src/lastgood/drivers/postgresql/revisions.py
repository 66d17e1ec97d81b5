"""The revision table: which migrations this database has had, written in the same transaction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lastgood.drivers.postgresql.connection import Connection, one

SCHEMA = "lastgood"

# A fixed number, so that every lastgood everywhere takes the same lock.
_LOCK = int.from_bytes(hashlib.sha256(b"lastgood revisions").digest()[:8], "big", signed=True)

_CREATE = """
CREATE SCHEMA IF NOT EXISTS lastgood;
CREATE TABLE IF NOT EXISTS lastgood.revisions (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    digest text NOT NULL,
    key text NOT NULL,
    deployed_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


@dataclass(frozen=True)
class Revision:
    """A deployed migration, with the key of the rollout's step that deployed it."""

    name: str
    digest: str
    key: str
    deployed_at: str


def lock(connection: Connection) -> None:
    """One migration at a time in this database; held until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def read(connection: Connection) -> tuple[Revision, ...]:
    """Oldest first; a database that never had one has none."""
    if not one(connection, "SELECT to_regclass('lastgood.revisions') IS NOT NULL"):
        return ()
    rows = connection.execute(
        "SELECT name, digest, key, deployed_at::text FROM lastgood.revisions ORDER BY seq"
    )
    return tuple(Revision(*row) for row in rows)


def add(connection: Connection, name: str, digest: str, key: str) -> None:
    connection.execute(
        "INSERT INTO lastgood.revisions (name, digest, key) VALUES (%s, %s, %s)", (name, digest, key)
    )


def prepare(connection: Connection) -> None:
    """Have the table; asked first, because CREATE … IF NOT EXISTS demands rights even when it's there."""
    if not one(connection, "SELECT to_regclass('lastgood.revisions') IS NOT NULL"):
        connection.execute(_CREATE)


def remove(connection: Connection, name: str) -> None:
    connection.execute("DELETE FROM lastgood.revisions WHERE name = %s", (name,))
