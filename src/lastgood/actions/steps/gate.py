"""Watches the criteria: during the rollout, through the guard window, and again after a return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lastgood.actions.abilities import measures_of
from lastgood.actions.steps.tools import Handler, Tools, release_at
from lastgood.domain.criterion import Criterion, Finding, GateResult, Sample, SignalKind, Verdict
from lastgood.domain.errors import GateFailed
from lastgood.domain.message import N_
from lastgood.domain.plan import StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import RolloutState
from lastgood.engine.handlers import Interrupted, Result, StepContext
from lastgood.judging.judge import Gate

LOOK_SECONDS = 0.2
"""Between looks at the signals, while a watch is young; a long one looks once a second."""
GAP_SECONDS = 2.0
"""A longer time without a look was not watched."""
WISH_SECONDS = 0.05
"""Between looks for a person's wish."""


class Watch(Handler):
    """WATCH and GUARD fail on a broken criterion; VERIFY only reports what it measured."""

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        kind = context.step.kind
        with context.store.write() as unit:
            unit.releases.set_current(release.unit, release.digest, context.clock.now())
            if kind is StepKind.GUARD:
                unit.rollouts.move(context.program, RolloutState.GUARDING)
        watching = _Watching.resume(self.tools, context, release)
        result, accepted = watching.until_over()
        with context.store.write() as unit:
            unit.rollouts.move(context.program, unit.rollouts.get(context.program).state, gate=result)
        if result.verdict is Verdict.FAILED and kind is not StepKind.VERIFY:
            raise _broken(result)
        return {"verdict": result.verdict.value, "accepted": accepted}


def _broken(result: GateResult) -> GateFailed:
    """The first broken criterion, in words; all of them are in the rollout's gate."""
    finding = next(f for f in result.findings if f.verdict is Verdict.FAILED)
    return GateFailed(
        N_("{criterion} is broken: {measured} against a limit of {limit} ({good} good of {total})"),
        todo=N_("The way back starts by itself where that is allowed; follow it with lastgood status."),
        criterion=finding.criterion,
        measured=_number(finding),
        limit=f"{finding.limit:g}",
        good=finding.good,
        total=finding.total,
    )


def _number(finding: Finding) -> str:
    return "-" if finding.measured is None else f"{finding.measured:.4g}"


@dataclass
class _Watching:
    """One watch in progress; all it needs to go on after a crash is in the store."""

    tools: Tools
    context: StepContext
    release: Release
    since: datetime
    seconds: float
    gate: Gate
    end: datetime
    looked: datetime
    cursors: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def resume(cls, tools: Tools, context: StepContext, release: Release) -> _Watching:
        """Begin, or go on where the journal and the samples say."""
        noted = context.last_note("since")
        seconds = float(context.step.params["seconds"])
        now = context.clock.now()
        since = datetime.fromisoformat(noted) if noted else now
        gate = Gate(release.criteria, since=since, duration=seconds)
        with context.store.read() as unit:
            cursors = dict(unit.samples.cursors(context.program, context.step.id))
            seen = unit.samples.list(context.program, since)
        gate.add(seen)
        noted_end = context.last_note("end")
        end = datetime.fromisoformat(noted_end) if noted_end else since + timedelta(seconds=seconds)
        last = seen[-1].at if seen else since
        watching = cls(tools, context, release, since, seconds, gate, end, last, cursors)
        if not noted:
            watching._begin()
        watching._prolong(now)
        return watching

    def _prolong(self, now: datetime) -> None:
        """Time in which nobody looked (a dead runner, a suspended machine) does not count as watched: after
        a gap the watch goes on for what was left, and at least for one window of the criteria.
        """
        gap, self.looked = now - self.looked, now
        if gap.total_seconds() < GAP_SECONDS:
            return
        least = min(self.seconds, max((c.window for c in self.release.criteria), default=0.0))
        self.end = max(self.end + gap, now + timedelta(seconds=least))
        self.context.note(end=self.end.isoformat())

    def _begin(self) -> None:
        for criterion in self.release.criteria:
            measures = measures_of(self.tools.drivers, self.release, criterion.signal)
            self.cursors[criterion.name] = measures.begin(criterion.signal)
        with self.context.store.write() as unit:
            unit.samples.keep_cursors(self.context.program, self.context.step.id, self.cursors)
        self.context.note(since=self.since.isoformat())

    def until_over(self) -> tuple[GateResult, bool]:
        """Look until the time is over, a criterion is broken, or a person ends it. Raises Interrupted."""
        clock = self.context.clock
        next_look = clock.monotonic()
        while True:
            accepted = self._accepted()
            now = clock.now()
            self._prolong(now)
            over = now >= self.end
            if clock.monotonic() >= next_look or over:
                self._look(now)
                next_look = clock.monotonic() + (LOOK_SECONDS if self.seconds <= 120 else 1.0)
            result = self.gate.result(now=now, final=over or accepted)
            if not self.release.criteria:
                # Nothing can ever be measured here: waiting would only look like evidence.
                return result, accepted
            if result.verdict is Verdict.FAILED or over or accepted:
                return result, accepted
            clock.sleep(min(WISH_SECONDS, max(0.0, next_look - clock.monotonic())))

    def _accepted(self) -> bool:
        wish = self.context.wish()
        if wish is None or self.context.step.kind is StepKind.VERIFY:
            return False
        if wish.wish == "back":
            raise Interrupted(wish)
        return wish.wish == "accept" and self.context.step.kind is StepKind.GUARD

    def _look(self, now: datetime) -> None:
        samples = [self._sample(criterion, now) for criterion in self.release.criteria]
        self.gate.add(samples)
        with self.context.store.write() as unit:
            unit.samples.add(self.context.program, samples)
            unit.samples.keep_cursors(self.context.program, self.context.step.id, self.cursors)

    def _sample(self, criterion: Criterion, now: datetime) -> Sample:
        measures = measures_of(self.tools.drivers, self.release, criterion.signal)
        reading = measures.read(criterion.signal, self.cursors[criterion.name])
        self.cursors[criterion.name] = reading.cursor
        if criterion.signal.kind is SignalKind.GAUGE:
            return Sample(criterion.name, now, self.since, value=reading.value, error=reading.error)
        return Sample(criterion.name, now, self.since, reading.good, reading.total, error=reading.error)
