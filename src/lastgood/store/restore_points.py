"""Restore points and the snapshots they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.domain.restore_point import RestorePoint, Snapshot
from lastgood.domain.unit import UnitId
from lastgood.store import codec, rows, tables


class SqlRestorePoints:
    """Implements ``ports.persistence.RestorePoints``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, point: RestorePoint) -> None:
        """Adding the same again changes nothing; raises Conflict when the id stands for another."""
        known = self._find(point.id)
        if known is not None:
            if replace(known, created_at=point.created_at) == point:
                return
            raise Conflict(
                N_("restore point {point} is there already and differs"),
                todo=N_("A restore point never changes: keep the new one under another id."),
                where=str(point.unit),
                point=point.id,
            )
        self._connection.execute(
            insert(tables.restore_points).values(
                id=point.id, unit=str(point.unit), release=point.release, document=point
            )
        )

    def get(self, point: str) -> RestorePoint:
        """Raises InvalidInput when unknown."""
        found = self._find(point)
        if found is None:
            raise rows.unknown("restore point", point)
        return found

    def list(self, unit: UnitId, *, pruned: bool = False) -> Sequence[RestorePoint]:
        table = tables.restore_points
        query = select(table.c.document).where(table.c.unit == str(unit)).order_by(table.c.seq.desc())
        if not pruned:
            query = query.where(table.c.pruned_at.is_(None))
        return self._points(query)

    def uncleared(self, unit: UnitId) -> Sequence[RestorePoint]:
        table = tables.restore_points
        pruned = table.c.pruned_at.is_not(None) & table.c.cleared_at.is_(None)
        query = select(table.c.document).where(table.c.unit == str(unit), pruned).order_by(table.c.seq)
        return self._points(query)

    def prune(self, point: RestorePoint) -> None:
        table = tables.restore_points
        self._connection.execute(
            update(table)
            .where(table.c.id == point.id)
            .values(document=point, pruned_at=point.pruned_at, cleared_at=point.cleared_at)
        )

    def _points(self, query: Select[Any]) -> Sequence[RestorePoint]:
        return tuple(codec.load(RestorePoint, found) for found in self._connection.scalars(query))

    def add_snapshot(self, snapshot: Snapshot) -> None:
        rows.put(
            self._connection,
            tables.snapshots,
            "id",
            snapshot.id,
            resource=snapshot.resource,
            document=snapshot,
        )

    def snapshots(self, resource: str) -> Sequence[Snapshot]:
        table = tables.snapshots
        query = select(table.c.document).where(table.c.resource == resource).order_by(table.c.seq.desc())
        found = (codec.load(Snapshot, document) for document in self._connection.scalars(query))
        return tuple(snapshot for snapshot in found if snapshot.discarded_at is None)

    def _find(self, point: str) -> RestorePoint | None:
        table = tables.restore_points
        found = self._connection.scalar(select(table.c.document).where(table.c.id == point))
        return None if found is None else codec.load(RestorePoint, found)
