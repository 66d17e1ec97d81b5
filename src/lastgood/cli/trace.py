"""What following a rollout has seen so far: steps with their times, samples, and what is new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from lastgood.domain.criterion import Sample
from lastgood.domain.message import Message
from lastgood.domain.plan import PlanKind, Step, StepKind
from lastgood.domain.rollout import JournalEntry, Mark, Rollout, RolloutState
from lastgood.domain.status import Progress

WATCHES = (StepKind.WATCH_CANARY, StepKind.WATCH, StepKind.GUARD, StepKind.VERIFY)


class StepState(str, Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class StepTrace:
    """One step as the journal tells it; ``data`` is its result or its failure."""

    step: Step
    state: StepState = StepState.WAITING
    started: datetime | None = None
    ended: datetime | None = None
    since: datetime | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    def take(self, entry: JournalEntry) -> None:
        if entry.mark is Mark.INTENT:
            self.state, self.started = StepState.RUNNING, self.started or entry.at
        elif entry.mark is Mark.NOTE:
            if "since" in entry.data:
                self.since = datetime.fromisoformat(entry.data["since"])
        else:
            self.state = StepState.DONE if entry.mark is Mark.DONE else StepState.FAILED
            self.ended, self.data = entry.at, entry.data

    def seconds(self, now: datetime | None = None) -> float | None:
        """How long it took, or has taken until ``now``; None while it waits."""
        end = self.ended or now
        return (end - self.started).total_seconds() if self.started and end else None

    @property
    def planned(self) -> float:
        """Seconds that a watch is meant to last."""
        return float(self.step.params.get("seconds", 0.0))

    @property
    def failure(self) -> Message:
        what = self.data.get("what", {})
        return Message(what.get("template", ""), what.get("params", {}))

    @property
    def mend(self) -> Message:
        todo = self.data.get("todo", {})
        return Message(todo.get("template", ""), todo.get("params", {}))


class News(str, Enum):
    """What can be new: a rollout begins, a step begins or ends, a window opens, a rollout is over."""

    BEGUN = "begun"
    STEP_STARTED = "step started"
    STEP_DONE = "step done"
    STEP_FAILED = "step failed"
    GUARDING = "guarding"
    OVER = "over"


@dataclass(frozen=True)
class Event:
    what: News
    at: datetime
    trace: Trace
    step: StepTrace | None = None


@dataclass
class Trace:
    """One rollout. ``samples`` by criterion, oldest first."""

    rollout: Rollout
    steps: dict[str, StepTrace] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    begun: bool = False

    def __post_init__(self) -> None:
        self.steps = {s.id: StepTrace(s) for s in self.rollout.plan.steps}

    def update(self, progress: Progress) -> Iterator[Event]:
        """Take in what is new, and say it in its order."""
        before, self.rollout = self.rollout.state, progress.rollout
        if not self.begun:
            self.begun = True
            yield Event(News.BEGUN, self.rollout.created_at, self)
        for sample in progress.samples:
            self.samples.setdefault(sample.criterion, []).append(sample)
        for entry in progress.entries:
            yield from self._entry(entry)
        after = self.rollout.state
        if after is not before or not before.is_open:
            if after is RolloutState.GUARDING:
                guard = self.guard
                yield Event(News.GUARDING, (guard and guard.started) or self.rollout.created_at, self, guard)
            elif not after.is_open:
                yield Event(News.OVER, self.rollout.finished_at or self.rollout.created_at, self)

    def _entry(self, entry: JournalEntry) -> Iterator[Event]:
        step = self.steps.get(entry.step)
        if step is None:
            return
        again = step.started is not None
        step.take(entry)
        if entry.mark is Mark.INTENT and not again:
            yield Event(News.STEP_STARTED, entry.at, self, step)
        elif entry.mark is Mark.DONE:
            yield Event(News.STEP_DONE, entry.at, self, step)
        elif entry.mark is Mark.FAILED:
            yield Event(News.STEP_FAILED, entry.at, self, step)

    @property
    def failed_step(self) -> StepTrace | None:
        return next((s for s in self.steps.values() if s.state is StepState.FAILED), None)

    @property
    def running_step(self) -> StepTrace | None:
        return next((s for s in self.steps.values() if s.state is StepState.RUNNING), None)

    @property
    def guard(self) -> StepTrace | None:
        return next((s for s in self.steps.values() if s.step.kind is StepKind.GUARD), None)

    @property
    def is_back(self) -> bool:
        return self.rollout.kind is PlanKind.ROLLBACK

    def of_watch(self, step: StepTrace) -> dict[str, list[Sample]]:
        """The samples taken during one watching step, by criterion."""
        start, end = step.since or step.started, step.ended
        if start is None:
            return {}
        return {
            name: found
            for name, samples in self.samples.items()
            if (found := [s for s in samples if s.at >= start and (end is None or s.at <= end)])
        }


@dataclass
class Story:
    """A rollout and the way back that may follow it."""

    traces: list[Trace] = field(default_factory=list)

    def update(self, progress: Progress) -> list[Event]:
        if not self.traces or self.traces[-1].rollout.id != progress.rollout.id:
            self.traces.append(Trace(progress.rollout))
        return list(self.traces[-1].update(progress))

    @property
    def first(self) -> Trace:
        return self.traces[0]

    @property
    def last(self) -> Trace:
        return self.traces[-1]

    def broke_at(self) -> datetime:
        """When the first rollout's step failed; when it is a rollback itself: when it was asked for."""
        failed = self.first.failed_step
        return failed.ended if failed and failed.ended else self.last.rollout.created_at
