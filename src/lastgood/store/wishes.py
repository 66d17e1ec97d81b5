"""What people ask of open rollouts, and the outbox of accepted ones."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from lastgood.domain.rollout import StopRequest
from lastgood.store import tables


class SqlWishes:
    """Implements ``ports.persistence.Wishes``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, request: StopRequest) -> None:
        self._connection.execute(
            insert(tables.stop_requests).values(
                rollout=request.rollout,
                wish=request.wish,
                by=request.by,
                reason=request.reason,
                at=request.at,
            )
        )

    def asked(self, rollout: str) -> StopRequest | None:
        table = tables.stop_requests
        query = select(table).where(table.c.rollout == rollout).order_by(table.c.seq.desc()).limit(1)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else StopRequest(row.rollout, row.wish, row.by, row.reason, row.at)

    def enqueue(self, rollout: str) -> None:
        """A rollout is in the outbox once; one that was started is not started again."""
        table = tables.outbox
        if self._connection.scalar(select(table.c.seq).where(table.c.rollout == rollout)) is None:
            self._connection.execute(insert(table).values(rollout=rollout, started=False))

    def enqueued(self) -> Sequence[str]:
        table = tables.outbox
        query = select(table.c.rollout).where(table.c.started.is_(False)).order_by(table.c.seq)
        return tuple(self._connection.scalars(query))

    def started(self, rollout: str) -> None:
        table = tables.outbox
        self._connection.execute(update(table).where(table.c.rollout == rollout).values(started=True))
