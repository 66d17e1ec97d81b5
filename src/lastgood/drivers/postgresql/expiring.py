"""Values put aside in the schema ``lastgood``, and how they go. Source of ``KeepsAside``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import sql

from lastgood.domain.expiry import Aside, AsideKind
from lastgood.drivers.postgresql import revisions
from lastgood.drivers.postgresql.connection import Connection, Server, one

_KEPT = """
SELECT id, migration, "schema" || '.' || relation, coalesce("column", ''), rows, kept_at,
       returned_at IS NOT NULL AND coalesce(returned, 0) >= rows
FROM lastgood.kept WHERE kept_at < %s ORDER BY kept_at, id
"""
_UNDO = """
SELECT u.id, u.migration, u."schema" || '.' || u.relation, u.rows, u.recorded_at, u.undone_at,
       (SELECT count(*) FROM lastgood.undo_conflicts c WHERE c.undo = u.id)
FROM lastgood.undo u WHERE coalesce(u.undone_at, u.recorded_at) < %s ORDER BY u.recorded_at, u.id
"""


@dataclass(frozen=True)
class Keeping:
    """What is kept in the database of ``server``."""

    server: Server

    def found(self, before: datetime) -> tuple[Aside, ...]:
        with self.server.reading() as connection:
            kept = connection.execute(_KEPT, (before,)).fetchall() if _there(connection, "kept") else []
            undo = connection.execute(_UNDO, (before,)).fetchall() if _there(connection, "undo") else []
        values = [
            Aside(AsideKind.KEPT, number, migration, relation, column, rows, at.astimezone(UTC), returned)
            for number, migration, relation, column, rows, at, returned in kept
        ]
        for number, migration, relation, rows, recorded, undone, conflicts in undo:
            if undone is None:
                kind, count, at = AsideKind.UNDO, rows, recorded
            elif conflicts:
                kind, count, at = AsideKind.CONFLICTS, conflicts, undone
            else:
                continue
            values.append(Aside(kind, number, migration, relation, "", count, at.astimezone(UTC)))
        return tuple(values)

    def drop(self, records: Sequence[Aside]) -> None:
        """Beside no migration: each holds the same lock. Raises DriverError."""
        with self.server.session() as connection, connection.transaction():
            connection.execute(self.server.guards())
            revisions.lock(connection)
            for record in records:
                if record.kind is AsideKind.KEPT:
                    _drop_kept(connection, record.number)
                else:
                    _drop_undo(connection, record)


def _there(connection: Connection, table: str) -> bool:
    return bool(one(connection, "SELECT to_regclass(%s) IS NOT NULL", f"lastgood.{table}"))


def _drop_kept(connection: Connection, number: int) -> None:
    for (name,) in connection.execute(
        "SELECT kept_in FROM lastgood.kept WHERE id = %s", (number,)
    ).fetchall():
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("lastgood", name)))
    connection.execute("DELETE FROM lastgood.kept WHERE id = %s", (number,))


def _drop_undo(connection: Connection, record: Aside) -> None:
    store = sql.Identifier("lastgood", f"undo_{record.number}")
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(store))
    connection.execute("DELETE FROM lastgood.undo_conflicts WHERE undo = %s", (record.number,))
    if record.kind is AsideKind.UNDO:
        # Without this the revert would take a record that is half gone for a whole one.
        connection.execute("DELETE FROM lastgood.undo_runs WHERE migration = %s", (record.migration,))
    connection.execute("DELETE FROM lastgood.undo WHERE id = %s", (record.number,))
