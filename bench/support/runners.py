"""Runners as processes of their own, and programs that do nothing but take steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from lastgood.actions.accepting import accept_plan
from lastgood.actions.context import Context
from lastgood.bootstrap.places import Places
from lastgood.bootstrap.runner import runner_pid
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import JournalEntry, Mark, Request, Rollout, RolloutState
from lastgood.domain.unit import UnitId

T = TypeVar("T")
FOREVER = """
import sys
from pathlib import Path
from lastgood.bootstrap.places import Places
from lastgood.bootstrap.runner import run
run(Places(Path(sys.argv[1]), Path(sys.argv[2])), forever=True)
"""


def wait_for(condition: Callable[[], T], seconds: float = 60.0, pause: float = 0.005) -> T:
    """The first true answer of ``condition``. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(pause)
    raise TimeoutError("what was waited for did not happen")


def places_in(root: Path, estate: Path | None = None) -> Places:
    return Places(root / "state", root / "key" / "seal.key", estate)


def kill_runner(places: Places) -> float:
    """kill -9 the runner, if any, and see it gone; the time of the kill (seconds since the epoch)."""
    pid, at = runner_pid(places), time.time()
    if pid > 0:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not runner_pid(places))
    return at


@contextmanager
def lasting_runner(places: Places) -> Iterator[None]:
    """The runner as a service manager has it: for ever, in a process of its own."""
    places.state.mkdir(parents=True, exist_ok=True)
    with (places.state / "runner.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", FOREVER, str(places.state), str(places.key)], stdout=log, stderr=log
        )
    try:
        wait_for(lambda: process.poll() is not None or runner_pid(places) == process.pid)
        yield
    finally:
        process.kill()
        process.wait()


@dataclass
class Programs:
    """Accepts programs of steps that only look whether nothing differs, on units without any target."""

    context: Context
    made: int = field(default=0)

    def accept(self, steps: int) -> Rollout:
        """A new unit and its program, written as every change is."""
        self.made += 1
        unit = UnitId(f"bench{self.made}", "dev", "us")
        release = Release(unit, "none")
        plan = Plan(PlanKind.HEAL, unit, "", release.digest, "none", tuple(_steps(steps, release)))
        now = datetime.now(UTC)
        return accept_plan(self.context, plan, release, Request("bench", "bench", "none", "bench", now))

    def intents(self, rollout: Rollout) -> list[datetime]:
        """When its steps began, oldest first."""
        with self.context.store.read() as unit:
            entries = unit.journal.entries(rollout.id)
        return [entry.at for entry in entries if entry.mark is Mark.INTENT]

    def last_sequence(self, rollout: Rollout) -> int:
        with self.context.store.read() as unit:
            entries = unit.journal.entries(rollout.id)
        return entries[-1].sequence if entries else 0

    def wait_beyond(self, rollout: Rollout, count: int, after: int = 0) -> datetime:
        """Wait for more than ``count`` entries after a sequence; when the first of them was written."""

        def enough() -> list[JournalEntry]:
            with self.context.store.read() as unit:
                entries = unit.journal.entries(rollout.id, after)
            return list(entries) if len(entries) > count else []

        return wait_for(enough)[0].at

    def end(self, rollout: Rollout) -> datetime:
        """Wait for its end. Raises RuntimeError when it did not end well."""

        def over() -> Rollout | None:
            with self.context.store.read() as unit:
                seen = unit.rollouts.get(rollout.id)
            return None if seen.state.is_open else seen

        seen = wait_for(over, 120, 0.02)
        if seen is None or seen.finished_at is None or seen.state is not RolloutState.VERIFIED:
            raise RuntimeError(f"{rollout.id} did not end well: {seen}")
        return seen.finished_at


def _steps(count: int, release: Release) -> Iterator[Step]:
    params = {"release": release.digest}
    return (Step(f"step{n}", StepKind.OBSERVE, Message("Look"), params) for n in range(count))
