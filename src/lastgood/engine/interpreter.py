"""Interprets a program step by step; all it remembers is in the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lastgood.domain.plan import Step
from lastgood.engine.handlers import Failure, Handlers, Probe, Programs, StepContext, no_probe, went_back
from lastgood.engine.step import execute
from lastgood.ports.clock import Clock
from lastgood.ports.persistence import Store

Checkpoint = Callable[[str, Callable[[], bool]], bool]
"""Runs a step (by id) under the durable runtime: returns whether the program goes on."""


def no_checkpoint(step: str, act: Callable[[], bool]) -> bool:
    """Without a durable runtime: just do it."""
    return act()


@dataclass(frozen=True)
class Interpreter:
    """Everything a program needs to run, apart from the program."""

    store: Store
    programs: Programs
    handlers: Handlers
    clock: Clock
    probe: Probe = no_probe

    def run(self, program: str, checkpoint: Checkpoint = no_checkpoint) -> None:
        """Bring ``program`` to its end. Safe to call again for a program at any stage."""
        steps, interruptible = self.programs.load(program)
        failure: Failure | None = None
        for step in steps:
            if interruptible:
                failure = self._wished_back(program, step)
            if failure is None:
                goes_on = checkpoint(step.id, lambda step=step: self._step(program, step) is None)  # type: ignore[misc]
                # The checkpoint's answer may be old; what stopped the step is in our journal.
                failure = None if goes_on else self._step(program, step)
            if failure is not None:
                break
        self.probe("before finish", "finish")
        self.programs.finish(program, failure)
        self.probe("after finish", "finish")

    def _step(self, program: str, step: Step) -> Failure | None:
        context = StepContext(program, step, self.store, self.clock)
        return execute(context, self.handlers[step.kind], self.probe)

    def _wished_back(self, program: str, step: Step) -> Failure | None:
        """A wish to go back ends the program at the next step that has not begun."""
        context = StepContext(program, step, self.store, self.clock)
        with self.store.read() as unit:
            begun = unit.journal.last(program, step.id) is not None
            wish = unit.wishes.asked(program)
        if begun or wish is None or wish.wish != "back":
            return None
        return Failure(context.step.id, "Interrupted", went_back(wish), interrupted_by=wish.by)
