"""Many units without targets: changes, rollouts, locks and journal are real; what rollouts meet is scripted.

The clock drives it: whenever the program of a change sleeps, every rollout takes one step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lastgood.actions.change_programs import ChangePrograms
from lastgood.actions.change_status import look_at_change
from lastgood.actions.context import Actor, Context
from lastgood.actions.deploy_many import accept_change
from lastgood.actions.finish import RUNNER, RolloutPrograms
from lastgood.actions.plan_change import PlannedChange
from lastgood.actions.plan_many import PlannedMany
from lastgood.actions.steps.table import wave_handlers
from lastgood.domain.change import Change, ChangeState
from lastgood.domain.criterion import GateResult, Verdict
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.release import Release
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.rollout import Mark, Request, Rollout, RolloutState
from lastgood.domain.status import ChangeProgress, UnitProgress
from lastgood.domain.unit import UnitId
from lastgood.domain.wave import WavePolicy
from lastgood.engine.handlers import Failure, Probe, no_probe
from lastgood.engine.interpreter import Interpreter
from lastgood.engine.step import failure_data
from lastgood.planning.waves import PlannedUnit, in_order, plan_waves
from lastgood.store.database import SqlStore, open_store
from lastgood.store.objects import FileObjects

SITES = ("us", "de", "jp")
NEEDS = {"api": (), "page": ("api",)}
STEPS = (StepKind.OBSERVE, StepKind.SHIFT_TRAFFIC, StepKind.WATCH, StepKind.GUARD)
PACE = WavePolicy("us", size=2, concurrency=2)
MOST = 500
"""Ticks after which a change that does not end has hung."""


class Killed(BaseException):
    """The runner's process is gone."""


def at(name: str) -> UnitId:
    """``page/us``"""
    service, _, site = name.partition("/")
    return UnitId(service, "prod", site)


@dataclass
class Company:
    """``fate`` by unit: breaks (in its watch), late (in its guard window), harmless (before anything was
    changed), unsure (too little evidence); good if not said. ``stuck`` can't go back.
    """

    root: Path
    fate: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    events: list[tuple[str, str]] = field(default_factory=list)
    at_tick: dict[int, Callable[[], object]] = field(default_factory=dict)
    ticks: int = 0
    most_at_work: int = 0
    time: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.store: SqlStore = open_store(self.root / "state", self)
        parts: Any = None  # without targets nothing else is asked
        objects = FileObjects(self.root / "objects")
        self.context = Context(
            self.store, objects, parts, parts, parts, parts, self, Actor("ann", "here"), self.root
        )
        self.rollouts = RolloutPrograms(self.store, self, "test", parts)
        for service in NEEDS:
            for site in SITES:
                self._stand(self.release(UnitId(service, "prod", site), "old"))

    # The clock ---------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.ticks += 1
        assert self.ticks < MOST, "it hangs"
        self.time += timedelta(seconds=max(seconds, 0.1))
        if act := self.at_tick.get(self.ticks):
            act()
        self._tick()

    # What a test does --------------------------------------------------------------------------------

    @staticmethod
    def release(unit: UnitId, text: str) -> Release:
        return Release(unit, text, upstream=text)

    def accept(
        self,
        *names: str,
        policy: WavePolicy = PACE,
        text: str = "new",
        automatic: bool = True,
    ) -> Change:
        """A change over ``names``, or all units."""
        units = [at(n) for n in names] or [UnitId(s, "prod", site) for s in NEEDS for site in SITES]
        planned = [
            self._plan(unit, text, automatic=automatic)
            for unit in in_order(units, SITES, NEEDS, policy.canary)
        ]
        for one in planned:
            self.store.put_plan(one.plan, one.release, one.base)
        plan = plan_waves([PlannedUnit(one.plan) for one in planned], policy, NEEDS)
        request = Request("gifts", "team", "carts", "ann", self.time)
        return accept_change(self.context, PlannedMany(plan, tuple(planned)), request)

    def run(self, probe: Probe = no_probe) -> None:
        """What a runner does, until nothing is open; also after it was killed."""
        runner = replace(self.context, actor=Actor(RUNNER, "test"))
        programs = ChangePrograms(self.store, self, "test")
        interpreter = Interpreter(self.store, programs, wave_handlers(runner), self, probe)
        while programs.open() or self.rollouts.open():
            for change in programs.open():
                interpreter.run(change)
            if not programs.open() and self.rollouts.open():
                self.sleep(0.1)

    def progress(self, change: Change | str) -> ChangeProgress:
        return look_at_change(self.context, change if isinstance(change, str) else change.id)

    def state(self, change: Change | str) -> ChangeState:
        return self.progress(change).change.state

    def told(self, change: Change | str) -> Mapping[str, UnitProgress]:
        """By ``page/us``."""
        return {f"{one.unit.service}/{one.unit.site}": one for one in self.progress(change).units}

    def on(self, name: str) -> str:
        """What a unit's current release says."""
        with self.store.read() as unit:
            return unit.releases.get(unit.releases.current(at(name))).upstream

    def everywhere(self) -> set[str]:
        return {self.on(f"{service}/{site}") for service in NEEDS for site in SITES}

    def holders(self) -> set[str]:
        with self.store.read() as unit:
            found = {unit.locks.holder(f"unit:{s}@prod/{site}") for s in NEEDS for site in SITES}
        return found - {""}

    def order(self, what: str) -> list[str]:
        return [name for event, name in self.events if event == what]

    # What rollouts do --------------------------------------------------------------------------------

    def _stand(self, release: Release) -> None:
        """The unit is there, and was verified good."""
        with self.store.write() as unit:
            unit.releases.put(release)
            unit.releases.set_current(release.unit, release.digest, self.time)
            name = f"rp-{release.unit.slug}-{release.upstream}"
            unit.points.add(RestorePoint(name, release.unit, release.digest, PointKind.VERIFIED, self.time))

    def _plan(self, unit_id: UnitId, text: str, *, automatic: bool) -> PlannedChange:
        with self.store.read() as unit:
            base = unit.releases.get(unit.releases.current(unit_id))
        target = self.release(unit_id, text)
        plan = Plan(
            PlanKind.DEPLOY, unit_id, base.digest, target.digest, text, _steps(*STEPS),
            way_back=_steps(StepKind.SHIFT_TRAFFIC, StepKind.VERIFY), automatic=automatic,
        )  # fmt: skip
        return PlannedChange(plan, target, base, {}, {})

    def _tick(self) -> None:
        with self.store.read() as unit:
            working = list(unit.rollouts.open())
        at_work = [r for r in working if r.state is not RolloutState.GUARDING]
        self.most_at_work = max(self.most_at_work, len(at_work))
        for rollout in working:
            name = f"{rollout.unit.service}/{rollout.unit.site}"
            if rollout.state is RolloutState.ACCEPTED:
                self.events.append(("begun" if rollout.kind is PlanKind.DEPLOY else "back", name))
                self.rollouts.load(rollout.id)
            elif rollout.kind is PlanKind.DEPLOY:
                self._go_on(rollout, name)
            else:
                self._go_back(rollout, name)

    def _go_on(self, rollout: Rollout, name: str) -> None:
        fate, guarding = self.fate.get(name, "good"), rollout.state is RolloutState.GUARDING
        with self.store.read() as unit:
            wish = unit.wishes.asked(rollout.id)
        if wish is not None and wish.wish == "back":
            self._intents(rollout, StepKind.SHIFT_TRAFFIC)
            self._fail(rollout, "watch", "Interrupted", "told to go back", wish.by)
        elif fate == "harmless":
            self._intents(rollout, StepKind.OBSERVE)
            self._fail(rollout, "observe", "Conflict", "edited by hand")
        elif fate == "breaks" or (fate == "late" and guarding):
            self._intents(rollout, StepKind.OBSERVE, StepKind.SHIFT_TRAFFIC, StepKind.WATCH)
            self._fail(rollout, "watch", "GateFailed", "it is broken")
        elif not guarding:
            self._intents(rollout, StepKind.SHIFT_TRAFFIC, StepKind.WATCH, StepKind.GUARD)
            verdict = Verdict.INCONCLUSIVE if fate == "unsure" else Verdict.PASSED
            with self.store.write() as unit:
                unit.releases.set_current(rollout.unit, rollout.target, self.time)
                unit.rollouts.move(rollout.id, RolloutState.GUARDING, gate=GateResult(verdict))
        else:
            self._end(rollout, kept=fate != "unsure")
            self.events.append(("over", name))

    def _end(self, rollout: Rollout, *, kept: bool) -> None:
        with self.store.write() as unit:
            # The name that the real plan has for this step.
            unit.journal.append(rollout.id, "keep", Mark.DONE, {"kept": kept}, self.time)
            target = unit.releases.get(rollout.target)
        if kept:
            self._stand(target)
        self.rollouts.finish(rollout.id, None)

    def _go_back(self, rollout: Rollout, name: str) -> None:
        if name in self.stuck:
            self._fail(rollout, "back:shift", "Rejected", "it says no")
            return
        with self.store.write() as unit:
            unit.rollouts.move(rollout.id, RolloutState.RUNNING, gate=GateResult(Verdict.PASSED))
        self.rollouts.finish(rollout.id, None)
        self.events.append(("back over", name))

    def _fail(self, rollout: Rollout, step: str, error: str, what: str, by: str = "") -> None:
        failure = Failure(step, error, Message(what), interrupted_by=by)
        with self.store.write() as unit:
            unit.journal.append(rollout.id, step, Mark.FAILED, failure_data(failure), self.time)
        self.rollouts.finish(rollout.id, failure)

    def _intents(self, rollout: Rollout, *kinds: StepKind) -> None:
        with self.store.write() as unit:
            for kind in kinds:
                if unit.journal.last(rollout.id, kind.value) is None:
                    unit.journal.append(rollout.id, kind.value, Mark.INTENT, {}, self.time)


def _steps(*kinds: StepKind) -> tuple[Step, ...]:
    return tuple(Step(kind.value, kind, Message(kind.value)) for kind in kinds)


def names(progress: Sequence[UnitProgress]) -> list[str]:
    return [f"{one.unit.service}/{one.unit.site}" for one in progress]
