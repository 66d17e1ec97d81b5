"""Values put aside in tables of ours, and how they go. Source of ``KeepsAside``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lastgood.domain.expiry import Aside, AsideKind
from lastgood.drivers.mariadb import kept, locks
from lastgood.drivers.mariadb.connection import Connection, Server, quoted, rows, run
from lastgood.drivers.mariadb.recording import CONFLICTS, ROWS, RUNS, UNDO
from lastgood.drivers.mariadb.revisions import exists

_KEPT = (
    "SELECT id, migration, relation, `column`, `rows`, kept_at, "
    "returned_at IS NOT NULL AND COALESCE(returned, 0) >= `rows` "
    f"FROM {kept.REGISTRY} WHERE `rows` IS NOT NULL AND kept_at < %s ORDER BY kept_at, id"
)
_UNDO = (
    "SELECT u.id, u.migration, u.relation, u.`rows`, u.recorded_at, u.undone_at, "
    f"(SELECT COUNT(*) FROM {CONFLICTS} c WHERE c.lot = u.id) FROM {UNDO} u "
    "WHERE COALESCE(u.undone_at, u.recorded_at) < %s ORDER BY u.recorded_at, u.id"
)


@dataclass(frozen=True)
class Keeping:
    """What is kept in the database of ``server``."""

    server: Server

    def found(self, before: datetime) -> tuple[Aside, ...]:
        """Source of ``KeepsAside.kept_aside``."""
        moment = before.astimezone(UTC).replace(tzinfo=None)
        with self.server.session() as connection:
            aside = rows(connection, _KEPT, moment) if exists(connection, kept.REGISTRY) else []
            undo = rows(connection, _UNDO, moment) if exists(connection, UNDO) else []
        values = [
            Aside(AsideKind.KEPT, n, migration, relation, column, int(count), _utc(at), bool(returned))
            for n, migration, relation, column, count, at, returned in aside
        ]
        for n, migration, relation, count, recorded, undone, conflicts in undo:
            if undone is None:
                kind, number, at = AsideKind.UNDO, count, recorded
            elif conflicts:
                kind, number, at = AsideKind.CONFLICTS, conflicts, undone
            else:
                continue
            values.append(Aside(kind, n, migration, relation, "", int(number), _utc(at)))
        return tuple(values)

    def drop(self, records: Sequence[Aside]) -> None:
        """Beside no migration. The rows go in one transaction; tables that are left empty are dropped after
        it, by the next one if this one dies. Raises DriverError.
        """
        with self.server.session() as connection:
            locks.let_none_in(self.server, connection)
            # However many rows there are: nobody else waits for them.
            self.server.guard(connection, statement_timeout=0)
            run(connection, "START TRANSACTION")
            for record in records:
                if record.kind is AsideKind.KEPT:
                    _drop_kept(connection, record.number)
                else:
                    _drop_undo(connection, record)
            run(connection, "COMMIT")
            self.server.guard(connection)
            kept.sweep(connection)


def _drop_kept(connection: Connection, number: int) -> None:
    if not exists(connection, kept.REGISTRY):
        return
    question = f"SELECT kept_in FROM {kept.REGISTRY} WHERE id = %s AND `rows` IS NOT NULL"
    for (name,) in rows(connection, question, number):
        if exists(connection, str(name)):
            run(connection, f"DELETE FROM {quoted(str(name))}")
        run(connection, f"DELETE FROM {kept.REGISTRY} WHERE id = %s", number)


def _drop_undo(connection: Connection, record: Aside) -> None:
    if not exists(connection, UNDO):
        return
    run(connection, f"DELETE FROM {ROWS} WHERE lot = %s", record.number)
    run(connection, f"DELETE FROM {CONFLICTS} WHERE lot = %s", record.number)
    if record.kind is AsideKind.UNDO:
        # Without this the revert would take a record that is half gone for a whole one.
        run(connection, f"DELETE FROM {RUNS} WHERE migration = %s", record.migration)
    run(connection, f"DELETE FROM {UNDO} WHERE id = %s", record.number)


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
