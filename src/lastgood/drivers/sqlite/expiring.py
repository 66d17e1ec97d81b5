"""Values put aside in tables of ours, and how they go. Source of ``KeepsAside``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lastgood.domain.expiry import Aside, AsideKind
from lastgood.drivers.sqlite.aside import REGISTRY
from lastgood.drivers.sqlite.connection import Store, exists, quoted, rows
from lastgood.drivers.sqlite.locks import begin, patiently

_KEPT = (
    "SELECT id, migration, relation, coalesce(\"column\", ''), rows, kept_at, "
    f"returned_at IS NOT NULL AND coalesce(returned, 0) >= rows FROM {REGISTRY} ORDER BY kept_at, id"
)


@dataclass(frozen=True)
class Keeping:
    """What is kept in the database of ``store``."""

    store: Store

    def found(self, before: datetime) -> tuple[Aside, ...]:
        """Source of ``KeepsAside.kept_aside``."""
        with self.store.session() as connection:
            kept = rows(connection, _KEPT) if exists(connection, REGISTRY) else []
        return tuple(
            Aside(AsideKind.KEPT, number, migration, relation, column, count, _utc(at), bool(returned))
            for number, migration, relation, column, count, at, returned in kept
            if _utc(at) < before
        )

    def drop(self, records: Sequence[Aside]) -> None:
        """In one transaction. Raises DriverError."""

        def once() -> None:
            with contextlib.closing(self.store.connect()) as connection:
                # Else the values stay readable in pages that are free.
                connection.execute("PRAGMA secure_delete = ON")
                begin(self.store, connection)
                for record in records if exists(connection, REGISTRY) else ():
                    for (name,) in rows(
                        connection, f"SELECT kept_in FROM {REGISTRY} WHERE id = ?", record.number
                    ):
                        connection.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
                    connection.execute(f"DELETE FROM {REGISTRY} WHERE id = ?", (record.number,))
                connection.execute("COMMIT")

        with self.store.errors():
            patiently(self.store, once)


def _utc(at: str) -> datetime:
    return datetime.fromisoformat(at).astimezone(UTC)
