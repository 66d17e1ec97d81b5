"""What is set aside, and what was lifted again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from lastgood.domain.quarantine import Quarantine
from lastgood.store import codec, rows, tables


class SqlQuarantines:
    """Implements ``ports.persistence.Quarantines``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, quarantine: Quarantine) -> None:
        rows.put(
            self._connection,
            tables.quarantine,
            "id",
            quarantine.id,
            lifted_at=quarantine.lifted_at,
            document=quarantine,
        )

    def list(self, *, lifted: bool = False) -> Sequence[Quarantine]:
        table = tables.quarantine
        query = select(table.c.document).order_by(table.c.seq.desc())
        if not lifted:
            query = query.where(table.c.lifted_at.is_(None))
        return tuple(codec.load(Quarantine, found) for found in self._connection.scalars(query))
