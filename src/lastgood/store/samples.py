"""What the looks at the signals returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from lastgood.domain.criterion import Sample
from lastgood.store import tables


class SqlSamples:
    """Implements ``ports.persistence.Samples``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, rollout: str, samples: Sequence[Sample]) -> None:
        rows = [
            {
                "rollout": rollout,
                "criterion": sample.criterion,
                "at": sample.at,
                "since": sample.since,
                "good": sample.good,
                "total": sample.total,
                "value": sample.value,
                "error": sample.error,
            }
            for sample in samples
        ]
        if rows:
            self._connection.execute(insert(tables.samples), rows)

    def list(self, rollout: str, after: datetime | None = None) -> Sequence[Sample]:
        """Those taken later than ``after``."""
        table = tables.samples
        query = select(table).where(table.c.rollout == rollout).order_by(table.c.at, table.c.seq)
        if after is not None:
            query = query.where(table.c.at > after)
        return tuple(
            Sample(row.criterion, row.at, row.since, row.good, row.total, row.value, row.error)
            for row in self._connection.execute(query)
        )

    def keep_cursors(self, rollout: str, step: str, cursors: Mapping[str, Any]) -> None:
        table = tables.cursors
        mine = (table.c.rollout == rollout) & (table.c.step == step)
        if self._connection.execute(update(table).where(mine).values(document=cursors)).rowcount == 0:
            self._connection.execute(insert(table).values(rollout=rollout, step=step, document=cursors))

    def cursors(self, rollout: str, step: str) -> Mapping[str, Any]:
        table = tables.cursors
        query = select(table.c.document).where(table.c.rollout == rollout, table.c.step == step)
        return self._connection.scalar(query) or {}
