"""rollback, for a whole change: every unit that it moved, in reverse order."""

from __future__ import annotations

from lastgood.actions.accepting import change_id
from lastgood.actions.context import Context
from lastgood.actions.deploy_many import lock_and_add
from lastgood.actions.following import follow_units, to_take_back
from lastgood.actions.holding import unit_lock
from lastgood.domain.audit import Phase
from lastgood.domain.change import Change, ChangePlan, ChangeState
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import Request, StopRequest
from lastgood.planning.waves import plan_back
from lastgood.ports.persistence import UnitOfWork


def rollback_many(context: Context, name: str, *, reason: str = "") -> str:
    """Returns the id of the change to follow: an open one that is told to go back, or a new way back.

    Raises Conflict when no unit is on its release any more, or when one of them is held by something else.
    """
    why = reason or "rollback"
    with context.store.write() as unit:
        change = _subject(unit, name)
        if change.state.is_open:
            return _turn_back(context, unit, change, why)
        going = next((b for b in unit.changes.ways_back(change.id) if b.state.is_open), None)
        if going is not None:
            return going.id
        now, by = context.clock.now(), context.actor.name
        back = Change(
            change_id(now), _plan(unit, change), Request(why, by, change.request.impact, by, now),
            ChangeState.ACCEPTED, now, undoes=change.id,
        )  # fmt: skip
        at_work = {unit_lock(f.unit) for f in follow_units(unit, change).values() if f.at_work}
        lock_and_add(context, unit, back, at_work)
        return back.id


def plan_change_back(context: Context, name: str) -> ChangePlan:
    """Which units would go back, in which order; ``left`` stay where they are. Raises Conflict."""
    with context.store.read() as unit:
        return _plan(unit, _subject(unit, name))


def _subject(unit: UnitOfWork, name: str) -> Change:
    """The change that is taken back; named may also be its way back."""
    change = unit.changes.get(name)
    return unit.changes.get(change.undoes) if change.kind is PlanKind.ROLLBACK else change


def _turn_back(context: Context, unit: UnitOfWork, change: Change, why: str) -> str:
    """Asked twice, it goes back once."""
    wish = unit.wishes.asked(change.id)
    if wish is None or wish.wish != "back":
        unit.wishes.ask(StopRequest(change.id, "back", context.actor.name, why, context.clock.now()))
        context.audit(unit, "rollback", change.id, Phase.INTENT, why, {"undoes": change.id})
    return change.id


def _plan(unit: UnitOfWork, change: Change) -> ChangePlan:
    undone = dict(to_take_back(unit, change))
    if not undone:
        raise Conflict(
            N_("no unit is on the release of {change} any more"),
            todo=N_("See what became of each: lastgood show {change}"),
            where=change.id,
            change=change.id,
        )
    left = [member.unit for member in change.plan.members() if member.unit not in undone]
    return plan_back(change.plan, undone, left)
