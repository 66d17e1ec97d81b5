"""One program of steps that do nothing, in a fresh process: ``python -m bench.support.stepping MODE DIR N``.

``engine``: the runner with DBOS; ``bare``: the interpreter and our journal without DBOS; ``dbos``: DBOS
without our journal. Prints the milliseconds from each step to the next as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import cast

from bench.support.runners import Programs, places_in
from lastgood.actions.finish import RolloutPrograms
from lastgood.bootstrap.parts import build_context
from lastgood.domain.plan import StepKind
from lastgood.engine.durable import DurableRuntime
from lastgood.engine.handlers import Result, StepContext
from lastgood.engine.interpreter import Checkpoint, Interpreter
from lastgood.engine.runner import Runner, RunnerLock
from lastgood.store.database import SqlStore


class Tick:
    """A handler that does nothing but note the time."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def run(self, context: StepContext) -> Result:
        self.times.append(time.perf_counter())
        return {}

    def look(self, context: StepContext) -> Result | None:
        return None


class Checkpoints(Interpreter):
    """Only the checkpoints: what DBOS costs by itself."""

    def run(self, program: str, checkpoint: Checkpoint | None = None) -> None:
        assert checkpoint is not None
        tick = cast(Tick, self.handlers[StepKind.OBSERVE])

        def act() -> bool:
            tick.times.append(time.perf_counter())
            return True

        for step in self.programs.load(program)[0]:
            checkpoint(step.id, act)
        self.programs.finish(program, None)


def measure(mode: str, root: Path, steps: int) -> list[float]:
    places, tick = places_in(root), Tick()
    context = build_context(places)
    store = cast(SqlStore, context.store)
    rollout = Programs(context).accept(steps)
    kind = Checkpoints if mode == "dbos" else Interpreter
    programs = RolloutPrograms(store, context.clock, "bench", context.vault)
    interpreter = kind(store, programs, {StepKind.OBSERVE: tick}, context.clock)
    if mode == "bare":
        interpreter.run(rollout.id)
    else:
        runtime: Callable[[], DurableRuntime] = lambda: DurableRuntime(places.durable, interpreter)  # noqa: E731
        lock = RunnerLock(places.state)
        Runner(store, programs, lock, context.clock, runtime, store.changed, linger=0.05).run()
    if len(tick.times) != steps:
        raise RuntimeError(f"{mode}: {len(tick.times)} of {steps} steps ran")
    return [(after - before) * 1000 for before, after in pairwise(tick.times)]


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
