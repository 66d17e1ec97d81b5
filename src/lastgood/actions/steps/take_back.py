"""The step of a change that goes back: a wave's units, what needs others before what they need.

A unit that can't go back is told and does not keep the others from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lastgood.actions.accepting import accept_in
from lastgood.actions.context import Context
from lastgood.actions.following import Followed, follow_units, taken_back_by_hand
from lastgood.actions.holding import unit_lock
from lastgood.actions.rollback import plan_way_back
from lastgood.actions.steps.waves import LOOK_SECONDS, WaveHandler
from lastgood.domain.audit import Phase
from lastgood.domain.change import Change
from lastgood.domain.errors import Conflict, LastgoodError, Unreachable
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import Mark, Rollout, RolloutState, StopRequest
from lastgood.domain.unit import UnitId
from lastgood.domain.wave import Member
from lastgood.engine.handlers import Result, StepContext
from lastgood.planning.waves import due
from lastgood.ports.persistence import UnitOfWork

TRY_SECONDS = 30.0
"""How long a unit is tried again whose target does not answer, or whose locks somebody else holds."""


class TakeBackWave(WaveHandler):
    """Begins the ways back of one wave; over when each has ended, well or not."""

    def run(self, step: StepContext) -> Result:
        change = self.change_of(step)
        wave = change.plan.waves[int(step.step.params["wave"])]
        going = _GoingBack.resume(self.context, step, change)
        while True:
            seen = going.look()
            settled = {m.unit for m in wave if going.settled(seen[m.unit])}
            if len(settled) == len(wave):
                return {"failed": sorted(going.failed)}
            begun = {m.unit for m in wave if going.begun(seen[m.unit])} | settled
            for member in due(wave, begun, settled, len(begun - settled), change.plan.concurrency):
                going.begin(seen[member.unit])
            step.clock.sleep(LOOK_SECONDS)


@dataclass
class _GoingBack:
    """``told`` are the units that stay as they are: taken over by somebody, or ``failed`` to begin."""

    context: Context
    step: StepContext
    change: Change
    told: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    asked: set[UnitId] = field(default_factory=set)
    tried: dict[UnitId, float] = field(default_factory=dict)

    @classmethod
    def resume(cls, context: Context, step: StepContext, change: Change) -> _GoingBack:
        """Go on where the journal says."""
        going = cls(context, step, change)
        with step.store.read() as unit:
            for entry in unit.journal.entries(change.id):
                if entry.step == step.step.id and entry.mark is Mark.NOTE and "stays" in entry.data:
                    going._keep(str(entry.data["unit"]), failed=bool(entry.data["failed"]))
        return going

    def look(self) -> Mapping[UnitId, Followed]:
        with self.step.store.read() as unit:
            seen = follow_units(unit, self.change)
            for one in seen.values():
                forward = one.forward
                if forward is not None and forward.state.is_open and taken_back_by_hand(unit, forward):
                    self.asked.add(one.unit)
        return seen

    def settled(self, one: Followed) -> bool:
        if str(one.unit) in self.told:
            return True
        return one.back is not None and not one.back.state.is_open

    def begun(self, one: Followed) -> bool:
        return one.back is not None or one.unit in self.asked

    def begin(self, one: Followed) -> None:
        """Tell its rollout to turn back, or accept a rollback of what is over."""
        try:
            if not self._turn_back(one.member):
                self._roll_back(one.member)
        except (Unreachable, Conflict) as error:
            if error.own_state:
                raise
            now = self.step.clock.monotonic()
            if now - self.tried.setdefault(one.unit, now) >= TRY_SECONDS:
                self._stays(one.unit, error.what, failed=True)
        except LastgoodError as error:
            if error.own_state:
                raise
            self._stays(one.unit, error.what, failed=True)

    def _turn_back(self, member: Member) -> bool:
        """Whether its rollout is open, and so goes back by its own way: warm, inside the guard window."""
        now = self.step.clock.now()
        with self.step.store.write() as unit:
            forward = unit.rollouts.standings([member.undoes])[member.undoes]
            if not forward.state.is_open:
                return forward.state is RolloutState.RETURNED
            why = str(Message(N_("{change} takes it back"), {"change": self.change.id}))
            by = self.context.actor.name
            unit.wishes.ask(StopRequest(member.undoes, "back", by, why, now))
            data = {"undoes": member.undoes, "change": self.change.id}
            self.context.audit(unit, "rollback", str(member.unit), Phase.INTENT, why, data)
            self._note_begun(unit, member, member.undoes)
        return True

    def _roll_back(self, member: Member) -> None:
        with self.step.store.read() as unit:
            current = unit.releases.current(member.unit)
            holder = unit.locks.holder(unit_lock(member.unit))
        if current != member.base:
            self._stays(member.unit, Message(N_("it is not on the release of the change any more")))
            return
        if holder != self.change.id:
            self._stays(member.unit, Message(N_("{holder} has taken it over"), {"holder": holder or "-"}))
            return
        plan, target = plan_way_back(self.context, member.unit, member.target, alone=False)
        rollout = Rollout(
            self.change.rollout_of(member), PlanKind.ROLLBACK, member.unit, plan.base, plan.target, plan,
            self.change.request, RolloutState.ACCEPTED, self.step.clock.now(), undoes=member.undoes,
            incident=self.change.incident, part_of=self.change.id,
        )  # fmt: skip
        with self.step.store.write() as unit:
            if unit.rollouts.standings([rollout.id]):
                return
            accept_in(self.context, unit, rollout, target)
            self._note_begun(unit, member, rollout.id)

    def _note_begun(self, unit: UnitOfWork, member: Member, rollout: str) -> None:
        data = {"unit": str(member.unit), "begun": rollout}
        now = self.step.clock.now()
        unit.journal.append(self.change.id, self.step.step.id, Mark.NOTE, data, now)

    def _stays(self, unit_id: UnitId, why: Message, *, failed: bool = False) -> None:
        self.step.note(unit=str(unit_id), stays=str(why), failed=failed)
        self._keep(str(unit_id), failed=failed)

    def _keep(self, name: str, *, failed: bool) -> None:
        self.told.add(name)
        if failed:
            self.failed.add(name)
