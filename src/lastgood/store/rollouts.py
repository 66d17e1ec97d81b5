"""Rollouts: the row a person follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from lastgood.domain.criterion import GateResult, Verdict
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_, Message
from lastgood.domain.rollout import Rollout, RolloutState, Standing
from lastgood.domain.unit import UnitId
from lastgood.store import codec, rows, tables

_COLUMNS = (
    tables.rollouts.c.state,
    tables.rollouts.c.finished_at,
    tables.rollouts.c.outcome,
    tables.rollouts.c.gate,
    tables.rollouts.c.document,
)
_OPEN = [state.value for state in RolloutState if state.is_open]


class SqlRollouts:
    """Implements ``ports.persistence.Rollouts``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, rollout: Rollout) -> None:
        """Raises Conflict when its id is taken: a rollout is accepted once."""
        table = tables.rollouts
        if self._connection.scalar(select(table.c.seq).where(table.c.id == rollout.id)) is not None:
            raise Conflict(
                N_("rollout {rollout} was accepted already"),
                todo=N_("Follow it with `lastgood show {rollout}`."),
                where=str(rollout.unit),
                rollout=rollout.id,
            )
        steps = (*rollout.plan.steps, *rollout.plan.way_back)
        self._connection.execute(
            insert(table).values(
                id=rollout.id,
                unit=str(rollout.unit),
                state=rollout.state.value,
                finished_at=rollout.finished_at,
                outcome=rollout.outcome,
                gate=rollout.gate,
                kinds={step.id: step.kind for step in steps},
                document=rollout,
            )
        )

    def get(self, rollout: str) -> Rollout:
        query = select(*_COLUMNS).where(tables.rollouts.c.id == rollout)
        row = self._connection.execute(query).one_or_none()
        if row is None:
            raise rows.unknown("rollout", rollout)
        return _load(row)

    def move(
        self,
        rollout: str,
        state: RolloutState,
        *,
        outcome: Message | None = None,
        gate: GateResult | None = None,
        finished_at: datetime | None = None,
    ) -> None:
        """What is not given stays as it was. Raises InvalidInput when there is no such rollout."""
        given = {"outcome": outcome, "gate": gate, "finished_at": finished_at}
        values = {name: value for name, value in given.items() if value is not None}
        table = tables.rollouts
        changed = self._connection.execute(
            update(table).where(table.c.id == rollout).values(state=state.value, **values)
        )
        if changed.rowcount == 0:
            raise rows.unknown("rollout", rollout)

    def list(self, unit: UnitId | None = None, limit: int = 50) -> Sequence[Rollout]:
        table = tables.rollouts
        query = select(*_COLUMNS).order_by(table.c.seq.desc()).limit(limit)
        if unit is not None:
            query = query.where(table.c.unit == str(unit))
        return tuple(_load(row) for row in self._connection.execute(query))

    def open(self) -> Sequence[Rollout]:
        table = tables.rollouts
        query = select(*_COLUMNS).where(table.c.state.in_(_OPEN)).order_by(table.c.seq)
        return tuple(_load(row) for row in self._connection.execute(query))

    def open_ids(self) -> Sequence[str]:
        table = tables.rollouts
        query = select(table.c.id).where(table.c.state.in_(_OPEN)).order_by(table.c.seq)
        return tuple(self._connection.scalars(query))

    def standings(self, rollouts: Iterable[str]) -> Mapping[str, Standing]:
        table = tables.rollouts
        query = select(table.c.id, *_COLUMNS[:-1]).where(table.c.id.in_(sorted(set(rollouts))))
        return {row.id: _standing(row) for row in self._connection.execute(query)}


def _standing(row: Any) -> Standing:
    passed = row.gate is not None and row.gate["verdict"] == Verdict.PASSED.value
    outcome = codec.load(Message, row.outcome)
    return Standing(row.id, RolloutState(row.state), passed, row.finished_at, outcome)


def _load(row: Any) -> Rollout:
    """The document is the rollout as accepted; the columns are what has become of it."""
    return replace(
        codec.load(Rollout, row.document),
        state=RolloutState(row.state),
        finished_at=row.finished_at,
        outcome=codec.load(Message, row.outcome),
        gate=None if row.gate is None else codec.load(GateResult, row.gate),
    )
