"""Changes: one request over many units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from lastgood.domain.change import Change, ChangeState
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_, Message
from lastgood.store import codec, rows, tables

_changes = tables.changes.c
_OPEN = [state.value for state in ChangeState if state.is_open]


class SqlChanges:
    """Implements ``ports.persistence.Changes``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, change: Change) -> None:
        """Raises Conflict when its id is taken: a change is accepted once."""
        if self._connection.scalar(select(_changes.seq).where(_changes.id == change.id)) is not None:
            raise Conflict(
                N_("change {change} was accepted already"),
                todo=N_("Follow it with `lastgood show {change}`."),
                where=change.id,
                change=change.id,
            )
        self._connection.execute(
            insert(tables.changes).values(
                id=change.id,
                state=change.state.value,
                finished_at=change.finished_at,
                outcome=change.outcome,
                undoes=change.undoes,
                kinds={step.id: step.kind for step in change.plan.steps},
                document=change,
            )
        )

    def get(self, change: str) -> Change:
        row = self._connection.execute(_query().where(_changes.id == change)).one_or_none()
        if row is None:
            raise rows.unknown("change", change)
        return _load(row)

    def move(
        self,
        change: str,
        state: ChangeState,
        *,
        outcome: Message | None = None,
        finished_at: datetime | None = None,
    ) -> None:
        """What is not given stays as it was. Raises InvalidInput when there is no such change."""
        given = {"outcome": outcome, "finished_at": finished_at}
        values = {name: value for name, value in given.items() if value is not None}
        changed = self._connection.execute(
            update(tables.changes).where(_changes.id == change).values(state=state.value, **values)
        )
        if changed.rowcount == 0:
            raise rows.unknown("change", change)

    def list(self, limit: int = 50) -> Sequence[Change]:
        return self._all(_query().order_by(_changes.seq.desc()).limit(limit))

    def open(self) -> Sequence[Change]:
        return self._all(_query().where(_changes.state.in_(_OPEN)).order_by(_changes.seq))

    def open_ids(self) -> Sequence[str]:
        query = select(_changes.id).where(_changes.state.in_(_OPEN)).order_by(_changes.seq)
        return tuple(self._connection.scalars(query))

    def ways_back(self, change: str) -> Sequence[Change]:
        return self._all(_query().where(_changes.undoes == change).order_by(_changes.seq.desc()))

    def _all(self, query: Select[Any]) -> tuple[Change, ...]:
        return tuple(_load(row) for row in self._connection.execute(query))


def _query() -> Select[Any]:
    return select(_changes.state, _changes.finished_at, _changes.outcome, _changes.document)


def _load(row: Any) -> Change:
    """The document is the change as accepted; the columns are what has become of it."""
    return replace(
        codec.load(Change, row.document),
        state=ChangeState(row.state),
        finished_at=row.finished_at,
        outcome=codec.load(Message, row.outcome),
    )
