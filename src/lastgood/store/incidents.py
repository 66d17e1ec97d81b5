"""Incidents and freezes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from lastgood.domain.incident import Freeze, Incident
from lastgood.domain.unit import UnitId
from lastgood.store import codec, rows, tables


class SqlIncidents:
    """Implements ``ports.persistence.Incidents``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, incident: Incident) -> None:
        rows.put(
            self._connection,
            tables.incidents,
            "id",
            incident.id,
            unit=str(incident.unit),
            document=incident,
        )

    def list(self, unit: UnitId | None = None, limit: int = 50) -> Sequence[Incident]:
        """Newest first."""
        table = tables.incidents
        query = select(table.c.document).order_by(table.c.seq.desc()).limit(limit)
        if unit is not None:
            query = query.where(table.c.unit == str(unit))
        return tuple(codec.load(Incident, found) for found in self._connection.scalars(query))

    def freeze(self, freeze: Freeze) -> None:
        rows.put(
            self._connection,
            tables.freezes,
            "id",
            freeze.id,
            scope=freeze.scope,
            lifted_at=freeze.lifted_at,
            document=freeze,
        )

    def freezes(self, unit: UnitId) -> Sequence[Freeze]:
        table = tables.freezes
        query = (
            select(table.c.document)
            .where(table.c.scope == str(unit), table.c.lifted_at.is_(None))
            .order_by(table.c.seq)
        )
        return tuple(codec.load(Freeze, found) for found in self._connection.scalars(query))
