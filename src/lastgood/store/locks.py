"""Names held by rollouts."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select, update

from lastgood.domain.errors import Cause, Conflict
from lastgood.domain.message import N_
from lastgood.domain.rollout import Mark
from lastgood.store import tables


class SqlLocks:
    """Implements ``ports.persistence.Locks``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, names: Iterable[str], rollout: str) -> None:
        """Names this rollout holds already are no conflict, so that taking twice is taking once."""
        wanted = sorted(set(names))
        table = tables.locks
        query = select(table.c.name, table.c.rollout).where(table.c.name.in_(wanted)).order_by(table.c.name)
        held = {row.name: row.rollout for row in self._connection.execute(query)}
        for name, holder in held.items():
            if holder != rollout:
                raise self._conflict(name, holder)
        free = [{"name": name, "rollout": rollout} for name in wanted if name not in held]
        if free:
            self._connection.execute(insert(table), free)

    def move(self, rollout: str, to: str) -> None:
        table = tables.locks
        self._connection.execute(update(table).where(table.c.rollout == rollout).values(rollout=to))

    def release(self, rollout: str) -> None:
        self._connection.execute(delete(tables.locks).where(tables.locks.c.rollout == rollout))

    def holder(self, name: str) -> str:
        table = tables.locks
        return self._connection.scalar(select(table.c.rollout).where(table.c.name == name)) or ""

    def _conflict(self, name: str, holder: str) -> Conflict:
        state = self._connection.scalar(select(tables.rollouts.c.state).where(tables.rollouts.c.id == holder))
        journal = tables.journal.c
        latest = self._connection.execute(
            select(journal.step, journal.mark, journal.at)
            .where(journal.rollout == holder, journal.mark != Mark.NOTE.value)
            .order_by(journal.seq.desc())
            .limit(1)
        ).one_or_none()
        todo = N_("Follow it with `lastgood show {holder}`, and try again when it has ended.")
        if latest is None:
            return Conflict(
                N_("{name} is held by rollout {holder} ({state}, no step begun yet)"),
                todo=todo,
                where=name,
                cause=Cause.TABLE_LOCK,
                name=name,
                holder=holder,
                state=state or "not recorded",
            )
        return Conflict(
            N_("{name} is held by rollout {holder} ({state}, at step {step} since {since})"),
            todo=todo,
            where=name,
            cause=Cause.TABLE_LOCK,
            name=name,
            holder=holder,
            state=state or "not recorded",
            step=latest.step,
            since=latest.at.isoformat(timespec="seconds"),
        )
