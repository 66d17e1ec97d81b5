"""One watch of criteria in progress; all it needs to go on after a crash is in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from lastgood.actions.abilities import measures_of
from lastgood.actions.renewing import renewal_of
from lastgood.actions.steps.staying_up import StayingUp
from lastgood.actions.steps.tools import Tools
from lastgood.domain.criterion import Criterion, GateResult, Sample, SignalKind, Verdict
from lastgood.domain.errors import GateFailed
from lastgood.domain.plan import StepKind
from lastgood.domain.release import Release
from lastgood.engine.handlers import Interrupted, StepContext
from lastgood.judging.judge import Gate
from lastgood.ports.drivers import Measures

LOOK_SECONDS = 0.2
"""Between looks at the signals, while a watch is young; a long one looks once a second."""
GAP_SECONDS = 2.0
"""A longer time without a look was not watched."""
WISH_SECONDS = 0.05
"""Between looks for a person's wish, at most."""
COMMIT_SECONDS = 0.01
"""Between looks whether anybody has written anything, a wish perhaps."""


def never() -> bool:
    return False


@dataclass
class Watching:
    """``asking`` is the release with passwords that may be used; ``end`` is when it is judged; what is
    inconclusive then is watched on until ``last``.
    """

    tools: Tools
    context: StepContext
    release: Release
    asking: Release
    criteria: Sequence[Criterion]
    since: datetime
    seconds: float
    gate: Gate
    end: datetime
    last: datetime
    looked: datetime
    cursors: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    staying_up: StayingUp | None = None
    """None while an old release is watched: it may end as often as it always did."""
    fallen: GateFailed | None = None
    others: Mapping[str, Release] = field(default_factory=dict)
    """Criteria that are asked in the name of other units' releases."""
    _rested: bool = True

    @classmethod
    def resume(
        cls,
        tools: Tools,
        context: StepContext,
        release: Release,
        criteria: Sequence[Criterion],
        others: Mapping[str, Release] = MappingProxyType({}),
    ) -> Watching:
        """Begin, or go on where the journal and the samples say. ``others``: criteria by name that are those
        of other units.

        The step's ``seconds`` are those of the watch, its ``at_most`` those with too little evidence.
        """
        noted = context.last_note("since")
        seconds = float(context.step.params["seconds"])
        at_most = float(context.step.params.get("at_most", seconds))
        now = context.clock.now()
        since = datetime.fromisoformat(noted) if noted else now
        gate = Gate(criteria, since=since, duration=seconds)
        with context.store.read() as unit:
            asking = renewal_of(unit, release, tools.vault).release
            theirs = {name: renewal_of(unit, one, tools.vault).release for name, one in others.items()}
            cursors = dict(unit.samples.cursors(context.program, context.step.id))
            seen = unit.samples.list(context.program, since)
        gate.add(seen)
        noted_end = context.last_note("end")
        end = datetime.fromisoformat(noted_end) if noted_end else since + timedelta(seconds=seconds)
        last = end + timedelta(seconds=at_most - seconds)
        looked = seen[-1].at if seen else since
        watching = cls(
            tools, context, release, asking, criteria, since, seconds, gate, end, last, looked, cursors,
            others=theirs,
        )  # fmt: skip
        if context.step.kind is not StepKind.VERIFY:
            watching.staying_up = StayingUp(tools, release)
            watching.staying_up.ends = context.last_note("ends")
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
        least = min(self.seconds, max((c.window for c in self.criteria), default=0.0))
        end = max(self.end + gap, now + timedelta(seconds=least))
        self.end, self.last = end, self.last + (end - self.end)
        self.context.note(end=self.end.isoformat())

    def _begin(self) -> None:
        for criterion in self.criteria:
            measures = self._measures(criterion)
            self.cursors[criterion.name] = measures.begin(criterion.signal)
        with self.context.store.write() as unit:
            unit.samples.keep_cursors(self.context.program, self.context.step.id, self.cursors)
        ends = self.staying_up.begin() if self.staying_up else None
        self.context.note(since=self.since.isoformat(), ends=ends)

    def until_over(self, ended: Callable[[], bool] = never) -> tuple[GateResult, bool]:
        """Look until the time is over, a criterion is broken, the release does not stay up (``fallen``),
        ``ended`` says so, or a person ends it.

        The result, and whether a person accepted it. Raises Interrupted.
        """
        clock, over = self.context.clock, False
        next_look = clock.monotonic()
        while True:
            accepted = self._accepted()
            now = clock.now()
            self._prolong(now)
            before, over = over, now >= self.end
            if clock.monotonic() >= next_look or (over and not before):
                self._look(now)
                next_look = clock.monotonic() + (LOOK_SECONDS if self.seconds <= 120 else 1.0)
            result = self.gate.result(now=now, final=over or accepted)
            if not self.criteria and ended is never:
                # Nothing can ever be measured here: waiting would only look like evidence.
                return result, accepted
            settled = over and (result.verdict is not Verdict.INCONCLUSIVE or now >= self.last)
            if result.verdict is Verdict.FAILED or self.fallen or settled or accepted or ended():
                return result, accepted
            self._rest(min(WISH_SECONDS, max(0.0, next_look - clock.monotonic())))

    def _rest(self, seconds: float) -> None:
        """Shorter when somebody writes meanwhile. Not twice in a row: many that watch would only wake each
        other.
        """
        clock, store = self.context.clock, self.context.store
        end, seen = clock.monotonic() + seconds, store.changed()
        while (left := end - clock.monotonic()) > 0:
            clock.sleep(min(left, COMMIT_SECONDS))
            if self._rested and store.changed() != seen:
                self._rested = False
                return
        self._rested = True

    def _accepted(self) -> bool:
        wish = self.context.wish()
        if wish is None or self.context.step.kind is StepKind.VERIFY:
            return False
        if wish.wish == "back":
            raise Interrupted(wish)
        return wish.wish == "accept" and self.context.step.kind is StepKind.GUARD

    def _look(self, now: datetime) -> None:
        samples = [self._sample(criterion, now) for criterion in self.criteria]
        self.gate.add(samples)
        with self.context.store.write() as unit:
            unit.samples.add(self.context.program, samples)
            unit.samples.keep_cursors(self.context.program, self.context.step.id, self.cursors)
        self.fallen = self.staying_up.failure() if self.staying_up else None

    def _measures(self, criterion: Criterion) -> Measures:
        asking = self.others.get(criterion.name, self.asking)
        return measures_of(self.tools.drivers, asking, criterion.signal)

    def _sample(self, criterion: Criterion, now: datetime) -> Sample:
        measures = self._measures(criterion)
        reading = measures.read(criterion.signal, self.cursors[criterion.name])
        self.cursors[criterion.name] = reading.cursor
        if criterion.signal.kind is SignalKind.GAUGE:
            return Sample(criterion.name, now, self.since, value=reading.value, error=reading.error)
        return Sample(criterion.name, now, self.since, reading.good, reading.total, error=reading.error)
