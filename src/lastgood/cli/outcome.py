"""The exit code of a command that followed a rollout. The table is in docs/commands.md."""

from __future__ import annotations

from lastgood.cli.trace import Story, Trace
from lastgood.domain import errors
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState

GOOD = (RolloutState.VERIFIED, RolloutState.ACCEPTED_EARLY)


def exit_code(story: Story, asked: PlanKind) -> int:
    """``asked``: what the command was to do. Decided by where the unit ended and by why it ended there."""
    first, last = story.first.rollout, story.last.rollout
    if last.state.is_open:
        return 0
    if last.kind is PlanKind.ROLLBACK and last.state is RolloutState.INCOMPLETE:
        return errors.RollbackIncomplete.exit_code
    if asked is PlanKind.ROLLBACK:
        return _of_way_back(story)
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
    kind = getattr(errors, str(step.data.get("error")), None)
    return int(getattr(kind, "exit_code", 1))
