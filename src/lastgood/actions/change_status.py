"""Changes as they are: each unit for itself, its way back included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lastgood.actions.context import Context
from lastgood.actions.following import Followed, follow_units
from lastgood.domain.change import Change
from lastgood.domain.message import Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import Mark, RolloutState, Standing
from lastgood.domain.status import ChangeProgress, UnitProgress
from lastgood.ports.persistence import UnitOfWork

FOLLOW_SECONDS = 0.2
"""Between looks while following."""
BROKEN = (RolloutState.RETURNED, RolloutState.FAILED)


def list_changes(context: Context, limit: int) -> Sequence[Change]:
    """Newest first."""
    with context.store.read() as unit:
        return unit.changes.list(limit)


def look_at_change(context: Context, name: str) -> ChangeProgress:
    """Raises InvalidInput when there is no such change."""
    with context.store.read() as unit:
        change = unit.changes.get(name)
        backs = unit.changes.ways_back(name)
        told = _Told.of(unit, (change, *backs))
        waves = {m.unit: n for n, wave in enumerate(change.plan.waves, 1) for m in wave}
        units = tuple(
            _progress(unit, waves[followed.unit], followed, told)
            for followed in follow_units(unit, change, backs).values()
        )
    return ChangeProgress(change, units, backs[0] if backs else None, context.clock.now())


def follow_change(
    context: Context, name: str, wanted: Callable[[ChangeProgress], bool]
) -> Iterator[ChangeProgress]:
    """Yield what is known until ``wanted`` says that the caller has seen enough, or all is over, the way back
    included. Stopping to follow stops nothing but the following.
    """
    while True:
        progress = look_at_change(context, name)
        yield progress
        if not progress.is_open or wanted(progress):
            return
        context.clock.sleep(FOLLOW_SECONDS)


@dataclass(frozen=True)
class _Told:
    """What the journals of a change and its ways back say of units: when they began, and why they stay."""

    begun: Mapping[str, datetime]
    stays: Mapping[str, str]

    @classmethod
    def of(cls, unit: UnitOfWork, changes: Sequence[Change]) -> _Told:
        begun: dict[str, datetime] = {}
        stays: dict[str, str] = {}
        for change in changes:
            for entry in unit.journal.entries(change.id):
                if entry.mark is Mark.NOTE and "begun" in entry.data:
                    begun[str(entry.data["begun"])] = entry.at
                elif entry.mark is Mark.NOTE and "stays" in entry.data:
                    stays.setdefault(str(entry.data["unit"]), str(entry.data["stays"]))
        return cls(begun, stays)


def _progress(unit: UnitOfWork, wave: int, one: Followed, told: _Told) -> UnitProgress:
    stays = told.stays.get(str(one.unit), "")
    newest = one.back or one.forward
    if newest is None:
        return UnitProgress(wave, one.unit, stays=stays)
    kind = PlanKind.DEPLOY if one.back is None else PlanKind.ROLLBACK
    return UnitProgress(
        wave, one.unit, newest.rollout, kind, newest.state, _since(unit, one, newest, told),
        _outcome(one), _error(unit, one), stays,
    )  # fmt: skip


def _since(unit: UnitOfWork, one: Followed, newest: Standing, told: _Told) -> datetime | None:
    """When it came to be so."""
    if newest.finished_at is not None:
        return newest.finished_at
    if newest.state is RolloutState.GUARDING and (guard := unit.journal.last(newest.rollout, "guard")):
        return guard.at
    # A way back of its own begins when the rollout ends that it undoes.
    return told.begun.get(newest.rollout) or (one.forward.finished_at if one.forward else None)


def _outcome(one: Followed) -> Message:
    """Why it went back says more than that it is back; that it is not says most."""
    stuck = one.back is not None and one.back.state in (RolloutState.INCOMPLETE, RolloutState.FAILED)
    broken = one.forward is not None and one.forward.state in BROKEN
    told = one.forward if broken and not stuck else one.back or one.forward
    return told.outcome if told is not None else Message("")


def _error(unit: UnitOfWork, one: Followed) -> str:
    """The class of the error that stopped the rollout forward; empty when a person did."""
    forward = one.forward
    if forward is None or forward.state not in BROKEN:
        return ""
    failed = (e.data for e in unit.journal.entries(forward.rollout) if e.mark is Mark.FAILED)
    return next((str(data["error"]) for data in failed), "")
