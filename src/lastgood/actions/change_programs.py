"""Changes as programs: what follows when one ends. One transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lastgood.actions.ends import with_step
from lastgood.actions.finish import RUNNER, late_wish
from lastgood.actions.following import ENDED_WELL, follow_units, to_take_back
from lastgood.domain.audit import Phase
from lastgood.domain.change import Change, ChangeState, is_change
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import PlanKind, Step
from lastgood.domain.rollout import Mark, RolloutState, way_back_id
from lastgood.domain.unit import UnitId, named
from lastgood.engine.handlers import Failure, Programs
from lastgood.planning.waves import plan_back
from lastgood.ports.clock import Clock
from lastgood.ports.persistence import Store, UnitOfWork


@dataclass(frozen=True)
class ProgramsByKind:
    """The programs of the runner: rollouts, and changes over many of them."""

    rollouts: Programs
    changes: Programs

    def open(self) -> Sequence[str]:
        return [*self.rollouts.open(), *self.changes.open()]

    def load(self, program: str) -> tuple[Sequence[Step], bool]:
        return self._of(program).load(program)

    def finish(self, program: str, failure: Failure | None) -> None:
        self._of(program).finish(program, failure)

    def _of(self, program: str) -> Programs:
        return self.changes if is_change(program) else self.rollouts


@dataclass(frozen=True)
class ChangePrograms:
    """A change's program has a step for each wave; its ends are written here."""

    store: Store
    clock: Clock
    origin: str

    def open(self) -> Sequence[str]:
        with self.store.read() as unit:
            return unit.changes.open_ids()

    def load(self, program: str) -> tuple[Sequence[Step], bool]:
        with self.store.write() as unit:
            change = unit.changes.get(program)
            if not change.state.is_open:
                return (), False
            if change.state is ChangeState.ACCEPTED:
                unit.changes.move(program, ChangeState.RUNNING)
        return change.plan.steps, change.kind is PlanKind.DEPLOY

    def finish(self, program: str, failure: Failure | None) -> None:
        with self.store.write() as unit:
            change = unit.changes.get(program)
            if not change.state.is_open:
                return
            now = self.clock.now()
            end = self._forward if change.kind is PlanKind.DEPLOY else self._back
            state, outcome = end(unit, change, failure, now)
            unit.changes.move(program, state, outcome=outcome, finished_at=now)
            unit.locks.release(program)
            self._audit(unit, change, Phase.OUTCOME, str(outcome), {"change": program, "state": state.value})

    def _forward(
        self, unit: UnitOfWork, change: Change, failure: Failure | None, now: datetime
    ) -> tuple[ChangeState, Message]:
        failure = failure or late_wish(unit, change.id)
        if failure is None:
            return _ended(unit, change)
        undone = dict(to_take_back(unit, change))
        if not undone:
            return ChangeState.FAILED, with_step(N_("no unit is on the new release: {what}"), failure)
        if not change.plan.automatic and not failure.interrupted_by:
            template = N_(
                "no further wave, and it waits for a person: lastgood rollback --change {change} takes all "
                "of it back. {what}"
            )
            return ChangeState.FAILED, Message(template, {"change": change.id, "what": failure.what})
        back = self._add_way_back(unit, change, undone, failure, now)
        words = {"what": failure.what, "change": back.id}
        return ChangeState.RETURNED, Message(N_("goes back with {change}: {what}"), words)

    def _add_way_back(
        self, unit: UnitOfWork, change: Change, undone: Mapping[UnitId, str], failure: Failure, now: datetime
    ) -> Change:
        incident = f"in-{failure.where}"
        known = failure.where and any(i.id == incident for i in unit.incidents.list(limit=200))
        back = Change(
            way_back_id(change.id), plan_back(change.plan, undone), change.request, ChangeState.ACCEPTED,
            now, undoes=change.id, incident=incident if known else "",
        )  # fmt: skip
        unit.changes.add(back)
        unit.locks.move(change.id, back.id)
        unit.wishes.enqueue(back.id)
        data = {"change": back.id, "undoes": change.id, "units": [str(u) for u in undone]}
        self._audit(unit, back, Phase.INTENT, str(failure.what), data)
        return back

    def _back(
        self, unit: UnitOfWork, change: Change, failure: Failure | None, now: datetime
    ) -> tuple[ChangeState, Message]:
        if failure is not None:
            template = N_("the way back stopped at {step}: {what}. Mend the cause and run it again")
            return ChangeState.INCOMPLETE, with_step(template, failure)
        return _back_again(unit, change)

    def _audit(
        self, unit: UnitOfWork, change: Change, phase: Phase, reason: str, data: Mapping[str, Any]
    ) -> None:
        unit.audit.append(
            actor=RUNNER, origin=self.origin, verb=change.kind.value, subject=change.id, phase=phase,
            reason=reason, data=data, at=self.clock.now(),
        )  # fmt: skip


def _ended(unit: UnitOfWork, change: Change) -> tuple[ChangeState, Message]:
    """No step failed: all units are through, or a person let no further one begin."""
    followed = follow_units(unit, change).values()
    good = [f for f in followed if f.forward is not None and f.forward.state in ENDED_WELL]
    words: dict[str, object] = {"count": len(followed), "good": len(good)}
    wish = unit.wishes.asked(change.id)
    if len(good) == len(followed):
        return ChangeState.VERIFIED, Message(N_("all {count} units are verified good"), words)
    if wish is not None:
        words |= {"by": wish.by, "reason": wish.reason}
        template = N_("stopped by {by}: {reason}. {good} of {count} units are verified good")
        return ChangeState.STOPPED, Message(template, words)
    unsure = [f.unit for f in followed if f.forward and f.forward.state is RolloutState.UNVERIFIED]
    if not unsure:
        # A person has accepted it meanwhile; by then it had kept the others from beginning.
        return ChangeState.STOPPED, Message(N_("{good} of {count} units are verified good"), words)
    words["units"] = named(unsure)
    template = N_(
        "{good} of {count} units are verified good; not enough evidence on {units}: accept it with a reason "
        "and deploy again (what is there stays), or roll back"
    )
    return ChangeState.UNVERIFIED, Message(template, words)


def _back_again(unit: UnitOfWork, change: Change) -> tuple[ChangeState, Message]:
    """The worst that is true of any unit decides, and names it."""
    followed = follow_units(unit, change).values()
    failed = _told_failed(unit, change)

    def ended(state: RolloutState) -> list[UnitId]:
        return [f.unit for f in followed if f.back is not None and f.back.state is state]

    stuck = [f.unit for f in followed if str(f.unit) in failed] + ended(RolloutState.INCOMPLETE)
    not_back = N_("not back: {units} ({wrong} of {count} units); the others are back")
    broken = N_("all are back, but the criteria are still broken on {units}")
    unsure = N_("all are back, but not enough evidence yet on {units}")
    for units, state, template in (
        (stuck, ChangeState.INCOMPLETE, not_back),
        (ended(RolloutState.FAILED), ChangeState.FAILED, broken),
        (ended(RolloutState.UNVERIFIED), ChangeState.UNVERIFIED, unsure),
    ):
        if units:
            words = {"units": named(units), "wrong": len(units), "count": len(followed)}
            return state, Message(template, words)
    return ChangeState.VERIFIED, Message(N_("all {count} units are back"), {"count": len(followed)})


def _told_failed(unit: UnitOfWork, change: Change) -> set[str]:
    """The units whose way back could not even begin, as the steps told."""
    done = [entry for entry in unit.journal.entries(change.id) if entry.mark is Mark.DONE]
    return {name for entry in done for name in entry.data.get("failed", ())}
