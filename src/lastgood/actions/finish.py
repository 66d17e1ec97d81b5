"""What follows when a program ends: the truthful state, the incident, the way back. One transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from lastgood.actions.captures import data_left, data_left_by, tell_left
from lastgood.actions.ends import (
    measured_again,
    restore_ended,
    result_of,
    sessions_ended,
    started_steps,
    swapped,
    tell_conflicts,
    tell_ended,
    tell_stopped,
    with_step,
)
from lastgood.actions.holding import give_back
from lastgood.actions.incidents import close_incident, open_incident
from lastgood.actions.renewing import keep_renewed, renewal_of, replaced_names
from lastgood.actions.set_aside import quarantine_failed
from lastgood.domain.audit import Phase
from lastgood.domain.capture import DataLeft
from lastgood.domain.errors import SecretRevoked
from lastgood.domain.incident import Incident
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import Mark, Rollout, RolloutState, way_back_id
from lastgood.engine.handlers import Failure, went_back
from lastgood.planning.fence import FENCE
from lastgood.planning.moves import begun
from lastgood.planning.renewal import Renewal, renewed_steps, returns
from lastgood.ports.clock import Clock
from lastgood.ports.content import Vault
from lastgood.ports.persistence import Store, UnitOfWork

RUNNER = "lastgood"
HARMLESS = frozenset(
    {
        StepKind.OBSERVE, StepKind.CHECK_ROOM, StepKind.FETCH_IMAGE, StepKind.HOLD_IMAGE, StepKind.SNAPSHOT,
        StepKind.REHEARSE, StepKind.WARM_COPY, StepKind.PLACE_FILES, StepKind.PLACE_ARTIFACT,
    }
)  # fmt: skip
"""Steps that leave what runs as it is: a failure among them needs no way back."""

TOUCHING = frozenset(
    {StepKind.SPLIT_TRAFFIC, StepKind.SHIFT_TRAFFIC, StepKind.SWITCH_WORKERS, StepKind.WATCH}
)
"""Steps after which customers may have met the release: its fault freezes the unit."""

OPENING = ("start", "shift", "workers")
"""Steps by which a fenced release takes its work up, in their order; a plan has those that its unit needs."""


def nothing() -> None:
    """Where nobody tidies up."""


@dataclass(frozen=True)
class RolloutPrograms:
    """The engine's programs are the rollouts' plans; their ends are written here."""

    store: Store
    clock: Clock
    origin: str
    vault: Vault
    tidy: Callable[[], None] = nothing
    """Runs after each end, outside of its transaction; what it leaves undone it does the next time."""

    def open(self) -> Sequence[str]:
        with self.store.read() as unit:
            return unit.rollouts.open_ids()

    def load(self, program: str) -> tuple[Sequence[Step], bool]:
        with self.store.write() as unit:
            rollout = unit.rollouts.get(program)
            if not rollout.state.is_open:
                return (), False
            if rollout.state is RolloutState.ACCEPTED:
                unit.rollouts.move(program, RolloutState.RUNNING)
        return rollout.plan.steps, rollout.kind is PlanKind.DEPLOY

    def finish(self, program: str, failure: Failure | None) -> None:
        self._finish(program, failure)
        self.tidy()

    def _finish(self, program: str, failure: Failure | None) -> None:
        with self.store.write() as unit:
            rollout = unit.rollouts.get(program)
            if not rollout.state.is_open:
                return
            now = self.clock.now()
            end = {
                PlanKind.DEPLOY: self._deploy,
                PlanKind.ROLLBACK: self._rollback,
                PlanKind.HEAL: self._heal,
                PlanKind.RESTORE: self._restore,
            }
            state, outcome = end[rollout.kind](unit, rollout, failure, now)
            ended = sessions_ended(unit, rollout)
            outcome = tell_ended(outcome, ended)
            unit.rollouts.move(program, state, outcome=outcome, finished_at=now)
            if state is not RolloutState.RETURNED:
                give_back(unit, rollout)
            unit.audit.append(
                actor=RUNNER, origin=self.origin, verb=rollout.kind.value, subject=str(rollout.unit),
                phase=Phase.OUTCOME, reason=str(outcome), at=now,
                data={"rollout": program, "state": state.value, **ended, **swapped(unit, rollout)},
            )  # fmt: skip

    def _deploy(
        self, unit: UnitOfWork, rollout: Rollout, failure: Failure | None, now: datetime
    ) -> tuple[RolloutState, Message]:
        kept = result_of(unit, rollout.id, "keep")
        failure = failure or late_wish(unit, rollout.id)
        if failure is None or (kept.get("kept") and not failure.interrupted_by):
            return _ended_well(unit, rollout, failure, bool(kept.get("kept")))
        began = started_steps(unit, rollout.id)
        kinds = {s.kind for s in rollout.plan.steps if s.id in began}
        if not kinds - HARMLESS:
            return RolloutState.FAILED, with_step(N_("nothing was changed: {what}"), failure)
        incident = open_incident(unit, rollout, failure, touched=bool(kinds & TOUCHING), now=now)
        self._set_aside(unit, rollout, failure, incident, now)
        if not rollout.plan.automatic and not failure.interrupted_by and not closed(unit, rollout, began):
            # The unit may have any part of the new release: going back starts from there.
            unit.releases.set_current(rollout.unit, rollout.target, now)
            what = with_step(N_("failed, and waits for a person to roll back: {what}"), failure)
            return RolloutState.FAILED, what
        back, renewal = way_back_of(unit, self.vault, rollout, began, incident.id, now)
        if renewal.lacking:
            # What it would come back with was revoked, and nothing valid is here: law 2 stands above speed.
            unit.releases.set_current(rollout.unit, rollout.target, now)
            return RolloutState.FAILED, tell_stopped(unit, rollout, _without_secret(renewal, failure))
        unit.incidents.put(replace(incident, rollback=back.id))
        self._begin(unit, rollout, back, renewal, str(failure.what))
        return RolloutState.RETURNED, with_step(N_("goes back: {what}"), failure)

    def _begin(
        self, unit: UnitOfWork, rollout: Rollout, back: Rollout, renewal: Renewal, reason: str
    ) -> None:
        """Accept the way back in the name of the runner; it has the locks from ``rollout``."""
        unit.releases.put(renewal.release)
        unit.rollouts.add(back)
        unit.locks.move(rollout.id, back.id)
        unit.wishes.enqueue(back.id)
        data: dict[str, object] = {"rollout": back.id, "undoes": rollout.id}
        if renewal.replaced:
            data["secrets"] = replaced_names(renewal)
        unit.audit.append(
            actor=RUNNER, origin=self.origin, verb="rollback", subject=str(rollout.unit), phase=Phase.INTENT,
            reason=reason, data=data, at=back.created_at,
        )  # fmt: skip

    def _set_aside(
        self, unit: UnitOfWork, rollout: Rollout, failure: Failure, incident: Incident, now: datetime
    ) -> None:
        found = quarantine_failed(unit, rollout, failure, incident, now)
        if found:
            unit.audit.append(
                actor=RUNNER, origin=self.origin, verb="quarantine", subject=str(rollout.unit),
                phase=Phase.OUTCOME, reason=str(failure.what), at=now,
                data={"incident": incident.id, "set_aside": {q.kind.value: q.name for q in found}},
            )  # fmt: skip

    def _rollback(
        self, unit: UnitOfWork, rollout: Rollout, failure: Failure | None, now: datetime
    ) -> tuple[RolloutState, Message]:
        evidence = str(result_of(unit, rollout.id, "back:evidence").get("directory", ""))
        if failure is not None and self._again(unit, rollout, failure, now):
            return RolloutState.RETURNED, with_step(N_("goes back with the newest secret: {what}"), failure)
        if failure is not None:
            template = N_("the way back stopped at {step}: {what}. Mend the cause and run it again")
            outcome = tell_stopped(unit, rollout, with_step(template, failure))
            state = RolloutState.INCOMPLETE
            # The unit stands between two releases: run again, the way back starts from what failed.
            unit.releases.set_current(rollout.unit, rollout.base, now)
        else:
            unit.releases.set_current(rollout.unit, rollout.target, now)
            keep_renewed(unit, rollout, self.clock)
            state, outcome = measured_again(rollout)
            outcome = tell_conflicts(unit, rollout, outcome)
            outcome = tell_left(outcome, _data_left(unit, rollout), rollout.unit)
        close_incident(unit, rollout, state, evidence, now)
        return state, outcome

    def _again(self, unit: UnitOfWork, rollout: Rollout, failure: Failure, now: datetime) -> bool:
        """A secret was revoked while the way back was at work: the same way once more, with a valid version.

        Once, for a person is needed where that goes on.
        """
        before = rollout.id.removesuffix(way_back_id(""))
        once_more = before != rollout.id and unit.rollouts.get(before).kind is PlanKind.ROLLBACK
        if failure.error != SecretRevoked.__name__ or once_more:
            return False
        target = unit.releases.get(rollout.target)
        renewal = renewal_of(unit, target, self.vault)
        if renewal.lacking or not renewal.changes:
            return False
        unit.releases.set_current(rollout.unit, rollout.base, now)
        again = replace(
            rollout, id=way_back_id(rollout.id), state=RolloutState.ACCEPTED, created_at=now, gate=None
        )
        back = to_renewed(again, renewal, unit.releases.get(rollout.base))
        self._begin(unit, rollout, back, renewal, str(failure.what))
        for incident in unit.incidents.list(rollout.unit):
            if incident.id == rollout.incident:
                unit.incidents.put(replace(incident, rollback=back.id))
        return True

    def _restore(
        self, unit: UnitOfWork, rollout: Rollout, failure: Failure | None, now: datetime
    ) -> tuple[RolloutState, Message]:
        state, outcome = restore_ended(unit, rollout, failure, now)
        if state is RolloutState.RETURNED and failure is not None:
            unit.audit.append(
                actor=RUNNER, origin=self.origin, verb=rollout.kind.value, subject=str(rollout.unit),
                phase=Phase.INTENT, reason=str(failure.what), at=now,
                data={"rollout": way_back_id(rollout.id), "undoes": rollout.id},
            )  # fmt: skip
        return state, outcome

    def _heal(
        self, unit: UnitOfWork, rollout: Rollout, failure: Failure | None, now: datetime
    ) -> tuple[RolloutState, Message]:
        if failure is not None:
            return RolloutState.FAILED, with_step(N_("could not be put back: {what}"), failure)
        if rollout.target != rollout.base:
            unit.releases.set_current(rollout.unit, rollout.target, now)
            keep_renewed(unit, rollout, self.clock)
        return RolloutState.VERIFIED, Message(N_("put back as released, nothing differs any more"))


def closed(unit: UnitOfWork, rollout: Rollout, began: frozenset[str]) -> bool:
    """Whether the shop is behind a fence, where nobody is served: that waits for no person.

    It is open again once the last step of ``OPENING`` that the plan has is done. That it began says nothing:
    a proxy that refused it serves nobody.
    """
    opening = [step.id for step in rollout.plan.steps if step.id in OPENING]
    last = unit.journal.last(rollout.id, opening[-1]) if opening else None
    return FENCE in began and (last is None or last.mark is not Mark.DONE)


def late_wish(unit: UnitOfWork, program: str) -> Failure | None:
    """A wish to go back that came when the last step had begun: nobody has read it yet."""
    wish = unit.wishes.asked(program)
    if wish is None or wish.wish != "back":
        return None
    return Failure("finish", "Interrupted", went_back(wish), interrupted_by=wish.by)


def _ended_well(
    unit: UnitOfWork, rollout: Rollout, failure: Failure | None, kept: bool
) -> tuple[RolloutState, Message]:
    if not kept:
        template = N_("not enough evidence to call it good: accept it with a reason, or roll back")
        return RolloutState.UNVERIFIED, Message(template)
    if failure is not None:
        return RolloutState.VERIFIED, with_step(N_("verified; but {step} failed: {what}"), failure)
    if result_of(unit, rollout.id, "guard").get("accepted"):
        return RolloutState.ACCEPTED_EARLY, Message(N_("accepted by a person before the guard window ended"))
    return RolloutState.VERIFIED, Message(N_("verified good"))


def _data_left(unit: UnitOfWork, rollout: Rollout) -> tuple[DataLeft, ...]:
    left = data_left(unit, unit.releases.get(rollout.target))
    return (*left, *data_left_by(unit, unit.rollouts.get(rollout.undoes))) if rollout.undoes else left


def way_back_of(
    unit: UnitOfWork, vault: Vault, rollout: Rollout, began: frozenset[str], incident: str, now: datetime
) -> tuple[Rollout, Renewal]:
    """The rollback of a failed deploy: its id derives from the deploy's, so it exists once.

    Whether a secret was revoked is asked now: what is planned by day may not be true by night. A base that
    never gave its work up does not come back, it is still there, and stays as it is.
    """
    steps = begun(rollout.plan.way_back, began)
    plan = Plan(
        PlanKind.ROLLBACK, rollout.unit, rollout.target, rollout.base, rollout.plan.commit, steps,
        resources=rollout.plan.resources, stops=rollout.plan.stops,
    )  # fmt: skip
    back = Rollout(
        way_back_id(rollout.id), PlanKind.ROLLBACK, rollout.unit, rollout.target, rollout.base, plan,
        rollout.change, RolloutState.ACCEPTED, now, undoes=rollout.id, incident=incident,
        part_of=rollout.part_of,
    )  # fmt: skip
    base, target = unit.releases.get(rollout.base), unit.releases.get(rollout.target)
    if not returns(steps):
        return back, Renewal(base, base)
    renewal = renewal_of(unit, base, vault, coming=target)
    return (to_renewed(back, renewal, target) if renewal.changes else back), renewal


def to_renewed(back: Rollout, renewal: Renewal, source: Release) -> Rollout:
    """The same way back from ``source``, to the renewed release."""
    plan = replace(
        back.plan, target=renewal.release.digest, notes=renewal.notes,
        steps=renewed_steps(back.plan.steps, renewal, source),
    )  # fmt: skip
    return replace(back, target=plan.target, plan=plan)


def _without_secret(renewal: Renewal, failure: Failure) -> Message:
    one = renewal.lacking[0]
    template = N_(
        "failed ({step}: {what}), and can't go back: no valid version of secret {name} is kept here. Give "
        "its new value: lastgood secrets renew {name}; then roll back"
    )
    return Message(template, {"step": failure.step, "what": str(failure.what), "name": one.name})
