"""Steps of a change: begin the rollouts of a wave in their order, wait for them; and take them back.

Every rollout has an id derived from its change, and is accepted in the transaction that hands over the
unit's lock: whatever dies in between, a unit begins once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lastgood.actions.accepting import accept_in
from lastgood.actions.captures import Servers, end_capture, opened_by
from lastgood.actions.context import Context
from lastgood.actions.following import ENDED_WELL, Followed, follow_units, taken_back_by_hand
from lastgood.domain.change import Change, ChangeState
from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import Mark, Rollout, RolloutState, Standing
from lastgood.domain.unit import UnitId
from lastgood.domain.wave import Member, Wait
from lastgood.engine.handlers import Interrupted, Result, StepContext
from lastgood.planning.waves import due

LOOK_SECONDS = 0.1
"""Between looks at the rollouts of a change; a look is one small query."""
BROKEN = frozenset({RolloutState.FAILED, RolloutState.RETURNED})


@dataclass(frozen=True)
class WaveHandler:
    """Base of the handlers; ``context`` acts in the runner's name."""

    context: Context

    def look(self, step: StepContext) -> Result | None:
        """Beginning and waiting converge: nothing is taken on trust after a crash."""
        return None

    def change_of(self, step: StepContext) -> Change:
        with step.store.read() as unit:
            return unit.changes.get(step.program)


class RollOutWave(WaveHandler):
    """Begins the units of one wave; over when all have passed, and the pause after it."""

    def run(self, step: StepContext) -> Result:
        change = self.change_of(step)
        position = int(step.step.params["wave"])
        moving = _Moving(self.context, step, change, position)
        wave = change.plan.waves[position]
        while True:
            seen = moving.look()
            if moving.ends_here(seen):
                return {"stopped": True}
            passed = {unit for unit, one in seen.items() if moving.passed(one)}
            if passed >= {member.unit for member in wave}:
                if moving.pause_is_over():
                    return {"units": len(wave)}
            else:
                begun = {unit for unit, one in seen.items() if one.forward is not None}
                for member in due(wave, begun, passed, len(begun - passed), change.plan.concurrency):
                    moving.begin(member)
            step.clock.sleep(LOOK_SECONDS)


class GuardWaves(WaveHandler):
    """Waits until the rollout of every unit that was begun is over."""

    def run(self, step: StepContext) -> Result:
        change = self.change_of(step)
        with step.store.write() as unit:
            unit.changes.move(change.id, ChangeState.GUARDING)
        moving = _Moving(self.context, step, change)
        seen = moving.look()
        while any(one.at_work for one in seen.values()):
            step.clock.sleep(LOOK_SECONDS)
            seen = moving.look()
        standings = [one.forward for one in seen.values() if one.forward is not None]
        if all(standing.state in ENDED_WELL for standing in standings):
            self._end_captures(step, change, [standing.rollout for standing in standings])
        return {}

    def _end_captures(self, step: StepContext, change: Change, rollouts: Sequence[str]) -> None:
        """All of it is good: nobody goes back behind it any more."""
        with step.store.read() as unit:
            opened = opened_by(unit, rollouts)
            releases = [unit.releases.get(unit.rollouts.get(capture.rollout).target) for capture in opened]
        good = Message(N_("{rollout} is verified good"), {"rollout": change.id})
        for capture, release in zip(opened, releases, strict=True):
            end_capture(
                Servers(step.store, self.context.drivers, self.context.vault),
                release,
                capture,
                good,
                step.clock.now(),
            )


@dataclass(frozen=True)
class _Moving:
    """A change on its way forward; ``position`` is that of its wave."""

    context: Context
    step: StepContext
    change: Change
    position: int = 0

    def look(self) -> Mapping[UnitId, Followed]:
        """Raises DriverError when a unit failed, Interrupted when a person wants all of it to go back."""
        wish = self.step.wish()
        if wish is not None and wish.wish == "back":
            raise Interrupted(wish)
        with self.step.store.read() as unit:
            seen = follow_units(unit, self.change)
            for one in seen.values():
                forward = one.forward
                if forward is not None and forward.state in BROKEN and not taken_back_by_hand(unit, forward):
                    raise _failed(one.unit, forward)
        return seen

    def ends_here(self, seen: Mapping[UnitId, Followed]) -> bool:
        """Whether no further unit begins: a person wants it so, or there is too little evidence on one.

        No evidence is not success: nothing builds on it.
        """
        states = {one.forward.state for one in seen.values() if one.forward is not None}
        return RolloutState.UNVERIFIED in states or self.step.wish() is not None

    def passed(self, one: Followed) -> bool:
        """What the next wave, and what waits for this unit, wants of it."""
        if one.forward is None:
            return False
        guarded = one.forward.state is RolloutState.GUARDING and one.forward.passed
        return one.forward.state in ENDED_WELL or (guarded and self.change.plan.wait is Wait.WATCH)

    def begin(self, member: Member) -> None:
        """Accept its rollout, unless that was done already, or a person wants no more."""
        plan, release, _ = self.step.store.plan(member.plan)
        plan = replace(plan, automatic=self.change.plan.automatic)
        now = self.step.clock.now()
        rollout = Rollout(
            self.change.rollout_of(member), PlanKind.DEPLOY, member.unit, plan.base, plan.target, plan,
            self.change.request, RolloutState.ACCEPTED, now, part_of=self.change.id,
        )  # fmt: skip
        with self.step.store.write() as unit:
            if unit.wishes.asked(self.change.id) or unit.rollouts.standings([rollout.id]):
                return
            accept_in(self.context, unit, rollout, release)
            data = {"unit": str(member.unit), "begun": rollout.id}
            unit.journal.append(self.change.id, self.step.step.id, Mark.NOTE, data, now)

    def pause_is_over(self) -> bool:
        """The pause lies between two waves, so there is none after the last."""
        pause = self.change.plan.pause
        if not pause or self.position + 1 == len(self.change.plan.waves):
            return True
        since = self.step.last_note("passed")
        if since is None:
            self.step.note(passed=self.step.clock.now().isoformat())
            return False
        return self.step.clock.now() >= datetime.fromisoformat(since) + timedelta(seconds=pause)


def _failed(unit_id: UnitId, standing: Standing) -> DriverError:
    return DriverError(
        N_("{unit} failed: {why}"),
        todo=N_("See lastgood show {rollout}."),
        where=standing.rollout,
        unit=str(unit_id),
        why=standing.outcome,
        rollout=standing.rollout,
    )
