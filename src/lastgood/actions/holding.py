"""Who holds a unit: a rollout at work on it, or a change in which its turn has not come, or is over."""

from __future__ import annotations

from lastgood.domain.change import Change, is_change
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import Rollout, RolloutState, StopRequest
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork


def unit_lock(unit_id: UnitId) -> str:
    return f"unit:{unit_id}"


def resource_lock(resource: str) -> str:
    return f"resource:{resource}"


def keeper(unit: UnitOfWork, change_id: str) -> str:
    """The open change that answers for the units of ``change_id``: itself, or its way back; empty when both
    are over.
    """
    if not change_id:
        return ""
    candidates = (unit.changes.get(change_id), *unit.changes.ways_back(change_id))
    return next((change.id for change in candidates if change.state.is_open), "")


def give_back(unit: UnitOfWork, rollout: Rollout) -> None:
    """What a rollout held that is over: its change keeps the unit until it is over itself, so that nobody
    else moves what it may have to take back.
    """
    keeping = keeper(unit, rollout.part_of)
    if keeping:
        unit.locks.move(rollout.id, keeping)
    else:
        unit.locks.release(rollout.id)


def stop_change(unit: UnitOfWork, change: Change, request: StopRequest) -> None:
    """Let it begin no further unit; those whose turn has not come are free at once.

    Raises Conflict when it is not a change that moves units forward, or when it was told to go back.
    """
    if not change.state.is_open or change.kind is not PlanKind.DEPLOY:
        raise Conflict(
            N_("{change} has nothing to stop: it is {state}"),
            todo=N_("See lastgood show {change}."),
            where=change.id,
            change=change.id,
            state=change.state.value,
        )
    wish = unit.wishes.asked(change.id)
    if wish is not None and wish.wish == "back":
        raise Conflict(
            N_("{by} has asked to go back: {reason}"),
            todo=N_("Follow it with lastgood show {rollout} --follow."),
            where=change.id,
            by=wish.by,
            reason=wish.reason,
            rollout=change.id,
        )
    if wish is None:
        unit.wishes.ask(request)
    begun = unit.rollouts.standings(change.rollout_of(m) for m in change.plan.members())
    waiting = [unit_lock(m.unit) for m in change.plan.members() if change.rollout_of(m) not in begun]
    unit.locks.release(change.id, waiting)


def refuse_held(unit: UnitOfWork, unit_id: UnitId) -> None:
    """Raises Conflict in the words of what is open on this unit."""
    holder = unit.locks.holder(unit_lock(unit_id))
    if not holder:
        return
    if is_change(holder):
        raise _in_change(unit_id, unit.changes.get(holder))
    working = unit.rollouts.get(holder)
    if working.unit != unit_id:
        raise stopped_with(unit_id, working)
    if working.state is RolloutState.GUARDING:
        raise Conflict(
            N_("{unit} is inside the guard window of {rollout}"),
            todo=N_('Wait for its end, end it with lastgood accept {unit} --reason "…", or roll back.'),
            where=str(unit_id),
            unit=str(unit_id),
            rollout=working.id,
        )
    raise Conflict(
        N_("{rollout} ({kind}) is at work on {unit}"),
        todo=N_("Follow it with lastgood show {rollout} --follow; it ends by itself."),
        where=str(unit_id),
        rollout=working.id,
        kind=working.kind.value,
        unit=str(unit_id),
    )


def stopped_with(unit_id: UnitId, working: Rollout) -> Conflict:
    """A unit that another one's rollout may have to stop and start, because they share a database."""
    return Conflict(
        N_("{rollout} of {other} holds {unit}: it moves a database that both use, and stops both for that"),
        todo=N_(
            "Wait for its end (lastgood show {rollout} --follow), end its guard window with lastgood accept "
            '{other} --reason "…", or take it back: lastgood rollback {other}.'
        ),
        where=str(unit_id),
        rollout=working.id,
        other=str(working.unit),
        unit=str(unit_id),
    )


def _in_change(unit_id: UnitId, change: Change) -> Conflict:
    going_back = N_("Follow it with lastgood show {change} --follow; it ends by itself.")
    forward = N_(
        "Follow it with lastgood show {change} --follow, or end it: lastgood stop {change} lets no further "
        "unit begin, lastgood rollback --change {change} takes all of it back."
    )
    return Conflict(
        N_("{unit} belongs to the change {change} ({kind}), which is not over"),
        todo=forward if change.kind is PlanKind.DEPLOY else going_back,
        where=str(unit_id),
        unit=str(unit_id),
        change=change.id,
        kind=change.kind.value,
    )
