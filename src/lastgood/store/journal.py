"""The journal: appended to, never changed (triggers see to it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, insert, select

from lastgood.domain.change import is_change
from lastgood.domain.plan import StepKind
from lastgood.domain.rollout import JournalEntry, Mark
from lastgood.domain.unit import UnitId
from lastgood.store import codec, rows, tables

Kinds = dict[str, tuple[str, Mapping[str, str]]]
"""By program: its unit (a change's is empty) and the kind of each step. These never change once accepted."""

_CACHED = 256
_LOOKED_AT = 20
_journal = tables.journal.c


class SqlJournal:
    """Implements ``ports.persistence.Journal``. ``kinds`` is a cache that outlives the transaction."""

    def __init__(self, connection: Connection, kinds: Kinds) -> None:
        self._connection = connection
        self._kinds = kinds

    def append(
        self, rollout: str, step: str, mark: Mark, data: Mapping[str, Any], at: datetime
    ) -> JournalEntry:
        """Raises InvalidInput when there is no such rollout or change."""
        unit, kinds = self._of(rollout)
        made = self._connection.execute(
            insert(tables.journal).values(
                rollout=rollout,
                step=step,
                mark=mark.value,
                at=at,
                data=data,
                unit=unit,
                kind=kinds.get(step, ""),
            )
        )
        key = made.inserted_primary_key
        assert key is not None
        return JournalEntry(int(key[0]), rollout, step, mark, at, codec.dump(data))

    def entries(self, rollout: str, after: int = 0) -> Sequence[JournalEntry]:
        query = _entries().where(_journal.rollout == rollout, _journal.seq > after).order_by(_journal.seq)
        return tuple(_load(row) for row in self._connection.execute(query))

    def last(self, rollout: str, step: str) -> JournalEntry | None:
        query = (
            _entries()
            .where(_journal.rollout == rollout, _journal.step == step, _journal.mark != Mark.NOTE.value)
            .order_by(_journal.seq.desc())
            .limit(1)
        )
        row = self._connection.execute(query).one_or_none()
        return None if row is None else _load(row)

    def seconds(self, unit: UnitId, kind: StepKind) -> Sequence[float]:
        """From the last intent before each outcome: time in which nobody was there does not count."""
        done, meant = tables.journal.alias("done"), tables.journal.alias("meant")
        began = (
            select(meant.c.at)
            .where(
                meant.c.rollout == done.c.rollout,
                meant.c.step == done.c.step,
                meant.c.mark == Mark.INTENT.value,
                meant.c.seq < done.c.seq,
            )
            .order_by(meant.c.seq.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = (
            select(done.c.at, began.label("began"))
            .where(done.c.unit == str(unit), done.c.kind == kind.value, done.c.mark == Mark.DONE.value)
            .order_by(done.c.seq.desc())
            .limit(_LOOKED_AT)
        )
        pairs = self._connection.execute(query).all()
        # A clock that was set back in between measured nothing.
        return tuple((at - start).total_seconds() for at, start in pairs if start is not None and at >= start)

    def _of(self, program: str) -> tuple[str, Mapping[str, str]]:
        known = self._kinds.get(program)
        if known is None:
            known = self._looked_up(program)
            if len(self._kinds) >= _CACHED:
                self._kinds.clear()
            self._kinds[program] = known
        return known

    def _looked_up(self, program: str) -> tuple[str, Mapping[str, str]]:
        if is_change(program):
            changes = tables.changes.c
            kinds = self._connection.scalar(select(changes.kinds).where(changes.id == program))
            if kinds is None:
                raise rows.unknown("change", program)
            return "", kinds
        rollouts = tables.rollouts.c
        query = select(rollouts.unit, rollouts.kinds).where(rollouts.id == program)
        row = self._connection.execute(query).one_or_none()
        if row is None:
            raise rows.unknown("rollout", program)
        return row.unit, row.kinds


def _entries() -> Select[Any]:
    return select(_journal.seq, _journal.rollout, _journal.step, _journal.mark, _journal.at, _journal.data)


def _load(row: Any) -> JournalEntry:
    return JournalEntry(row.seq, row.rollout, row.step, Mark(row.mark), row.at, row.data)
