"""What rehearsals showed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from lastgood.domain.rehearsal import Rehearsed
from lastgood.store import codec, rows, tables


class SqlRehearsals:
    """Implements ``ports.persistence.Rehearsals``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, rehearsed: Rehearsed) -> None:
        rows.put(
            self._connection,
            tables.rehearsals,
            "key",
            rehearsed.key,
            resource=rehearsed.resource,
            document=rehearsed,
        )

    def get(self, key: str) -> Rehearsed | None:
        table = tables.rehearsals
        found = self._connection.scalar(select(table.c.document).where(table.c.key == key))
        return None if found is None else codec.load(Rehearsed, found)

    def list(self, resource: str) -> Sequence[Rehearsed]:
        table = tables.rehearsals
        query = select(table.c.document).where(table.c.resource == resource).order_by(table.c.seq.desc())
        return tuple(codec.load(Rehearsed, found) for found in self._connection.scalars(query))
