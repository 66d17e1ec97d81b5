"""Names held by rollouts and changes."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select, update

from lastgood.domain.change import is_change
from lastgood.domain.errors import Cause, Conflict
from lastgood.domain.message import N_
from lastgood.domain.rollout import Mark
from lastgood.store import tables


class SqlLocks:
    """Implements ``ports.persistence.Locks``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(self, names: Iterable[str], holder: str) -> None:
        """Names it holds already are no conflict, so that taking twice is taking once."""
        wanted = sorted(set(names))
        table = tables.locks
        query = select(table.c.name, table.c.rollout).where(table.c.name.in_(wanted)).order_by(table.c.name)
        held = {row.name: row.rollout for row in self._connection.execute(query)}
        for name, other in held.items():
            if other != holder:
                raise self._conflict(name, other)
        free = [{"name": name, "rollout": holder} for name in wanted if name not in held]
        if free:
            self._connection.execute(insert(table), free)

    def move(self, holder: str, to: str, names: Iterable[str] | None = None) -> None:
        table = tables.locks
        mine = table.c.rollout == holder
        if names is not None:
            wanted = sorted(set(names))
            mine &= table.c.name.in_(wanted)
            held = set(self._connection.scalars(select(table.c.name).where(mine)))
            if lost := [name for name in wanted if name not in held]:
                raise Conflict(
                    N_("{name} is not held by {holder} any more"),
                    todo=N_("See who has it: lastgood status."),
                    where=holder,
                    cause=Cause.TABLE_LOCK,
                    name=lost[0],
                    holder=holder,
                )
        self._connection.execute(update(table).where(mine).values(rollout=to))

    def release(self, holder: str, names: Iterable[str] | None = None) -> None:
        statement = delete(tables.locks).where(tables.locks.c.rollout == holder)
        if names is not None:
            statement = statement.where(tables.locks.c.name.in_(sorted(set(names))))
        self._connection.execute(statement)

    def holder(self, name: str) -> str:
        table = tables.locks
        return self._connection.scalar(select(table.c.rollout).where(table.c.name == name)) or ""

    def _conflict(self, name: str, holder: str) -> Conflict:
        todo = N_("Follow it with `lastgood show {holder}`, and try again when it has ended.")
        if is_change(holder):
            what, cause = N_("{name} is held by change {holder}"), Cause.TABLE_LOCK
            return Conflict(what, todo=todo, where=name, cause=cause, name=name, holder=holder)
        state = self._connection.scalar(select(tables.rollouts.c.state).where(tables.rollouts.c.id == holder))
        journal = tables.journal.c
        latest = self._connection.execute(
            select(journal.step, journal.mark, journal.at)
            .where(journal.rollout == holder, journal.mark != Mark.NOTE.value)
            .order_by(journal.seq.desc())
            .limit(1)
        ).one_or_none()
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
