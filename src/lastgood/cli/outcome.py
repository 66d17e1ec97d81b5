"""The exit code of a command that followed a rollout or a change. The table is in docs/commands.md."""

from __future__ import annotations

from lastgood.cli.trace import Story, Trace
from lastgood.domain import errors
from lastgood.domain.change import ChangeState
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState
from lastgood.domain.status import ChangeProgress

GOOD = (RolloutState.VERIFIED, RolloutState.ACCEPTED_EARLY)


def exit_code(story: Story, asked: PlanKind) -> int:
    """``asked``: what the command was to do. Decided by where the unit ended and by why it ended there."""
    first, last = story.first.rollout, story.last.rollout
    if last.state.is_open:
        return 0
    if last.kind is not PlanKind.DEPLOY and last.state is RolloutState.INCOMPLETE:
        return errors.RollbackIncomplete.exit_code
    if asked is PlanKind.ROLLBACK:
        return _of_way_back(story)
    if asked is PlanKind.RESTORE and first.state is RolloutState.FAILED and story.first.failed_step is None:
        return errors.GateFailed.exit_code
    if first.state is RolloutState.UNVERIFIED:
        return errors.GateInconclusive.exit_code
    return 0 if first.state in GOOD else _why(story.first)


def _of_way_back(story: Story) -> int:
    last = story.last.rollout
    if last.kind is not PlanKind.ROLLBACK:
        # A deploy that was told to turn back: nothing was changed yet, or it had ended before.
        asked = _interrupted(story.last)
        return 0 if last.state is RolloutState.FAILED and asked else errors.Conflict.exit_code
    return {
        RolloutState.VERIFIED: 0,
        RolloutState.UNVERIFIED: errors.GateInconclusive.exit_code,
        RolloutState.FAILED: errors.GateFailed.exit_code,
    }[last.state]


def _interrupted(trace: Trace) -> bool:
    return bool(trace.failed_step and trace.failed_step.data.get("interrupted_by"))


def _why(trace: Trace) -> int:
    """By the error of the step that failed; a person's wish to turn back is a conflict for the deployer."""
    step = trace.failed_step
    if step is None or _interrupted(trace):
        return errors.Conflict.exit_code
    return _code_of(str(step.data.get("error")))


def _code_of(error: str) -> int:
    return int(getattr(getattr(errors, error, None), "exit_code", 1))


def change_exit_code(progress: ChangeProgress, asked: PlanKind) -> int:
    """The same of a change: a way back that stopped is worst, else what stopped the first unit decides."""
    change, back = progress.change, progress.back
    if any(one.state is RolloutState.INCOMPLETE for one in progress.units):
        return errors.RollbackIncomplete.exit_code
    last = back if back is not None and change.kind is PlanKind.DEPLOY else change
    if asked is PlanKind.ROLLBACK and last.kind is PlanKind.ROLLBACK:
        return 0 if last.state.is_open else BACK_CODES[last.state]
    if asked is PlanKind.ROLLBACK:
        # Told to turn back: no unit was on the new release yet, or it had ended before.
        return 0 if change.state in (ChangeState.FAILED, *OPEN) else errors.Conflict.exit_code
    if change.state in (ChangeState.VERIFIED, *OPEN):
        return 0
    if change.state is ChangeState.UNVERIFIED:
        return errors.GateInconclusive.exit_code
    stopped = [one.error for one in progress.units if one.error and one.error != "Interrupted"]
    if change.state is ChangeState.STOPPED or not stopped:
        return errors.Conflict.exit_code
    return _code_of(stopped[0])


OPEN = tuple(state for state in ChangeState if state.is_open)
BACK_CODES = {
    ChangeState.VERIFIED: 0,
    ChangeState.UNVERIFIED: errors.GateInconclusive.exit_code,
    ChangeState.FAILED: errors.GateFailed.exit_code,
    ChangeState.INCOMPLETE: errors.RollbackIncomplete.exit_code,
}
