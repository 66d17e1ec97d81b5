"""One step: our journal decides whether it runs, is looked at, or is already over."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from lastgood.domain.errors import LastgoodError, OutcomeUnknown, Unreachable
from lastgood.domain.message import N_, Message
from lastgood.domain.rollout import JournalEntry, Mark
from lastgood.engine.handlers import Failure, Interrupted, Probe, Result, StepContext, StepHandler

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""How long an unreachable target is tried again before the step fails."""
LOOKS = 5
"""How often an unknown outcome is looked at before it is reported as unknown."""


def execute(context: StepContext, handler: StepHandler, probe: Probe) -> Failure | None:
    """Bring one step to its outcome, whatever happened to it before. Returns its failure, if any."""
    with context.store.read() as unit:
        last = unit.journal.last(context.program, context.step.id)
    if last is not None and last.mark is Mark.DONE:
        return None
    if last is not None and last.mark is Mark.FAILED:
        return failure_of(context.step.id, last)
    if last is None:
        _append(context, Mark.INTENT, {})
    probe("before effect", context.step.id)
    failure, result = _attempt(context, handler, looked_first=last is not None)
    probe("after effect", context.step.id)
    if failure is None:
        _append(context, Mark.DONE, result)
    else:
        _append(context, Mark.FAILED, failure_data(failure))
    probe("after outcome", context.step.id)
    return failure


def _attempt(
    context: StepContext, handler: StepHandler, *, looked_first: bool
) -> tuple[Failure | None, Result]:
    try:
        return None, _persist(context, handler, looked_first)
    except Interrupted as interrupted:
        request = interrupted.request
        return (
            Failure(
                context.step.id,
                "Interrupted",
                Message(N_("{by} asked to go back: {reason}"), {"by": request.by, "reason": request.reason}),
                interrupted_by=request.by,
            ),
            {},
        )
    except LastgoodError as error:
        if error.own_state:
            # Nothing is known of the target: the program stops here and goes on when we can write again.
            raise
        return _failure_from(context.step.id, error), {}
    except Exception as error:
        log.exception("step %s failed inside", context.key)
        what = Message(
            N_("internal error {kind}: {text}"), {"kind": type(error).__name__, "text": str(error)}
        )
        todo = Message(N_("See runner.log in the state directory and report it."))
        return Failure(context.step.id, type(error).__name__, what, todo), {}


def _persist(context: StepContext, handler: StepHandler, looked_first: bool) -> Result:
    """Run, look or try again until there is an answer or the time for trying is over."""
    deadline = context.clock.monotonic() + RETRY_SECONDS
    act: Callable[[], Result] = lambda: handler.run(context)  # noqa: E731
    looked: Callable[[], Result] = lambda: _look_or_run(context, handler)  # noqa: E731
    attempt = looked if looked_first else act
    pause, looks = 0.05, 0
    while True:
        try:
            return attempt()
        except OutcomeUnknown:
            looks += 1
            if looks >= LOOKS:
                raise
            attempt = looked
        except Unreachable:
            if context.clock.monotonic() >= deadline:
                raise
        context.clock.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(pause * 2, 2.0)


def _look_or_run(context: StepContext, handler: StepHandler) -> Result:
    seen = handler.look(context)
    return handler.run(context) if seen is None else seen


def _append(context: StepContext, mark: Mark, data: Result) -> None:
    with context.store.write() as unit:
        unit.journal.append(context.program, context.step.id, mark, data, context.clock.now())


def _failure_from(step: str, error: LastgoodError) -> Failure:
    return Failure(
        step,
        type(error).__name__,
        error.what,
        error.todo,
        error.where,
        error.cause.value if error.cause else "",
    )


def failure_data(failure: Failure) -> Result:
    """A failure as the journal keeps it."""
    return {
        "error": failure.error,
        "what": {"template": failure.what.template, "params": _texts(failure.what)},
        "todo": {"template": failure.todo.template, "params": _texts(failure.todo)},
        "where": failure.where,
        "cause": failure.cause,
        "interrupted_by": failure.interrupted_by,
    }


def _texts(message: Message) -> dict[str, object]:
    simple = (str, int, float, bool)
    return {k: v if isinstance(v, simple) else str(v) for k, v in message.params.items()}


def failure_of(step: str, entry: JournalEntry) -> Failure:
    """The failure a journal entry (mark FAILED) holds."""
    data = entry.data
    return Failure(
        step,
        data["error"],
        Message(data["what"]["template"], data["what"]["params"]),
        Message(data["todo"]["template"], data["todo"]["params"]),
        data["where"],
        data["cause"],
        data["interrupted_by"],
    )
