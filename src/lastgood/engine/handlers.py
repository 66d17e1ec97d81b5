"""What the engine needs of those who do the work, and what it gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Step, StepKind
from lastgood.domain.rollout import Mark, StopRequest
from lastgood.ports.clock import Clock
from lastgood.ports.persistence import Store

Result = Mapping[str, Any]


class Interrupted(Exception):
    """A person asked to go back while a step was waiting; the step is over, its program ends here."""

    def __init__(self, request: StopRequest) -> None:
        self.request = request
        super().__init__(request.reason)


@dataclass(frozen=True)
class StepContext:
    """One step in one program. ``key`` is its idempotency key for ever."""

    program: str
    step: Step
    store: Store
    clock: Clock

    @property
    def key(self) -> str:
        return f"{self.program}/{self.step.id}"

    def note(self, **data: Any) -> None:
        """Append a progress note to the journal, for those who watch."""
        with self.store.write() as unit:
            unit.journal.append(self.program, self.step.id, Mark.NOTE, data, self.clock.now())

    def last_note(self, name: str) -> Any:
        """The value last noted under ``name`` by this step, None when there is none (survives a restart)."""
        with self.store.read() as unit:
            entries = unit.journal.entries(self.program)
        noted = [e.data[name] for e in entries if e.step == self.step.id and name in e.data]
        return noted[-1] if noted else None

    def result_of(self, step: str) -> Result | None:
        """What an earlier step of this program returned, None when it is not done."""
        with self.store.read() as unit:
            last = unit.journal.last(self.program, step)
        return last.data if last and last.mark is Mark.DONE else None

    def wish(self) -> StopRequest | None:
        with self.store.read() as unit:
            return unit.wishes.asked(self.program)


class StepHandler(Protocol):
    """Does one kind of step."""

    def run(self, context: StepContext) -> Result:
        """Do it; safe to repeat under ``context.key``. Raises LastgoodError when it can't be done."""

    def look(self, context: StepContext) -> Result | None:
        """After a crash or a lost answer: the result if the target shows it is done, None to run it."""


def went_back(request: StopRequest) -> Message:
    """Why a program ended that a person took back."""
    return Message(N_("{by} asked to go back: {reason}"), {"by": request.by, "reason": request.reason})


@dataclass(frozen=True)
class Failure:
    """Why a program did not reach its end: an error of a step, or a person's wish."""

    step: str
    error: str
    what: Message
    todo: Message = field(default_factory=lambda: Message(""))
    where: str = ""
    cause: str = ""
    interrupted_by: str = ""


class Programs(Protocol):
    """Where programs come from and what happens at their end."""

    def open(self) -> Sequence[str]:
        """Ids of those that are not over, oldest first."""

    def load(self, program: str) -> tuple[Sequence[Step], bool]:
        """The steps, and whether a wish to go back may interrupt them. Empty when it is over already."""

    def finish(self, program: str, failure: Failure | None) -> None:
        """Write the end, with whatever follows from it, in one transaction. Called again after a crash."""


Handlers = Mapping[StepKind, StepHandler]
Probe = Callable[[str, str], None]
"""Called with (moment, step id) at every moment at which a process may die; for fault injection."""


def no_probe(moment: str, step: str) -> None:
    """The probe of everyday life."""
