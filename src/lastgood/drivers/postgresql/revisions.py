"""The revision table: which migrations this database has had, written in the same transaction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.drivers.postgresql.connection import Connection, one
from lastgood.ports.drivers import MigrationScript

SCHEMA = "lastgood"

# A fixed number, so that every lastgood everywhere takes the same lock.
_LOCK = int.from_bytes(hashlib.sha256(b"lastgood revisions").digest()[:8], "big", signed=True)

CREATE = """
CREATE SCHEMA IF NOT EXISTS lastgood;
CREATE TABLE IF NOT EXISTS lastgood.revisions (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    digest text NOT NULL,
    key text NOT NULL,
    deployed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    added text
)
"""

_HAS_ADDED = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'lastgood.revisions'::regclass "
    "AND attname = 'added' AND NOT attisdropped)"
)


@dataclass(frozen=True)
class Revision:
    """A deployed migration, with the key of the rollout's step that deployed it.

    ``added`` is what it added, as JSON of ``aside.Added``; None when that was not noted.
    """

    name: str
    digest: str
    key: str
    deployed_at: str
    added: str | None = None


def lock(connection: Connection) -> None:
    """One migration at a time in this database; held until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


def lock_session(connection: Connection) -> None:
    """The same until the session ends, for work that runs in no transaction."""
    connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))


def read(connection: Connection) -> tuple[Revision, ...]:
    """Oldest first; a database that never had one has none."""
    if not one(connection, "SELECT to_regclass('lastgood.revisions') IS NOT NULL"):
        return ()
    # A table of before has no such column, and reading must not need the right to add it.
    rows = connection.execute(
        "SELECT name, digest, key, deployed_at::text, to_jsonb(r) ->> 'added' "
        "FROM lastgood.revisions r ORDER BY seq"
    )
    return tuple(Revision(*row) for row in rows)


def add(connection: Connection, name: str, digest: str, key: str, added: str) -> None:
    connection.execute(
        "INSERT INTO lastgood.revisions (name, digest, key, added) VALUES (%s, %s, %s, %s)",
        (name, digest, key, added),
    )


def prepare(connection: Connection) -> None:
    """Have the table; asked first, because CREATE … IF NOT EXISTS demands rights even when it's there."""
    if not one(connection, "SELECT to_regclass('lastgood.revisions') IS NOT NULL"):
        connection.execute(CREATE)
    elif not one(connection, _HAS_ADDED):
        connection.execute("ALTER TABLE lastgood.revisions ADD COLUMN IF NOT EXISTS added text")


def remove(connection: Connection, name: str) -> None:
    connection.execute("DELETE FROM lastgood.revisions WHERE name = %s", (name,))


def there(connection: Connection, migration: MigrationScript, address: str) -> bool:
    """Whether it is deployed; raises Conflict when another one of that name is."""
    for revision in read(connection):
        if revision.name != migration.name:
            continue
        if revision.digest == migration.digest:
            return True
        raise Conflict(
            N_("migration {name} is deployed with other scripts: {there}, not {wanted}"),
            todo=N_("Give the changed migration a new name; deployed ones are never edited."),
            where=address,
            name=migration.name,
            there=revision.digest,
            wanted=migration.digest,
        )
    return False


def refuse_unless_newest(connection: Connection, name: str, address: str) -> None:
    """Raises Conflict: what came later has to be reverted first."""
    names = [r.name for r in read(connection)]
    newer = names[names.index(name) + 1 :]
    if newer:
        raise Conflict(
            N_("migration {name} is not the newest: {newer} came after it"),
            todo=N_("Revert the newer ones first."),
            where=address,
            name=name,
            newer=", ".join(newer),
        )
