"""deploy, for many units: accept one change over all of them; the runner does the rest, wave by wave."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lastgood.actions.accepting import change_id, refuse_move
from lastgood.actions.context import Context
from lastgood.actions.deploy import binds, keep_content, other_plan, refuse_busy, require_change
from lastgood.actions.holding import resource_lock, unit_lock
from lastgood.actions.plan_many import PlannedMany, plan_many, select
from lastgood.actions.rehearsing import Told, unheard
from lastgood.actions.renewing import give
from lastgood.domain.audit import Phase
from lastgood.domain.change import Change, ChangePlan, ChangeState
from lastgood.domain.errors import LastgoodError
from lastgood.domain.rollout import Request
from lastgood.ports.persistence import UnitOfWork


def deploy_many(
    context: Context,
    wanted: Sequence[str],
    *,
    revision: str = "HEAD",
    reason: str,
    owner: str,
    impact: str,
    plan: str = "",
    rehearse: bool = True,
    told: Told = unheard,
) -> Change:
    """Plan and accept. ``plan`` (a digest or prefix) binds the acceptance to a plan that was shown.

    Raises what ``select``, ``plan_many`` and ``accept_change`` raise, and Conflict when the plan shown is not
    today's.
    """
    require_change(reason=reason, owner=owner, impact=impact)
    selected = select(context, wanted, revision)
    for unit_id in selected.units:
        refuse_busy(context, unit_id)
    planned = plan_many(context, selected, rehearse=rehearse, told=told)
    if not binds(plan, planned.plan.digest):
        raise other_plan(plan, planned.plan.digest, " ".join(f"'{name}'" for name in wanted))
    for one in planned.units:
        keep_content(context, one)
    return accept_change(
        context, planned, Request(reason, owner, impact, context.actor.name, context.clock.now())
    )


def accept_change(context: Context, planned: PlannedMany, request: Request) -> Change:
    """All or nothing: a unit that moved, is locked, frozen or set aside refuses it. Raises Conflict."""
    now = context.clock.now()
    change = Change(change_id(now), planned.plan, request, ChangeState.ACCEPTED, now)
    with context.store.write() as unit:
        for one in planned.units:
            try:
                refuse_move(context, unit, one.plan, one.release)
            except LastgoodError as error:
                error.about(str(one.plan.unit))
                raise
            unit.releases.put(one.release)
            give(unit, one.release, request.requested_by, context.clock)
        lock_and_add(context, unit, change)
    return change


def lock_and_add(context: Context, unit: UnitOfWork, change: Change, handed: Collection[str] = ()) -> None:
    """Locks, row, outbox and audit of a change, inside the caller's transaction. ``handed`` are locks that
    rollouts of its units hold, and hand over when they are over.
    """
    plan, request = change.plan, change.request
    unit.locks.take([name for name in locks_of(plan) if name not in handed], change.id)
    unit.changes.add(change)
    unit.wishes.enqueue(change.id)
    data = {"change": change.id, "plan": plan.digest, "owner": request.owner, "impact": request.impact,
            "units": [str(member.unit) for member in plan.members()], "commit": plan.commit}  # fmt: skip
    context.audit(unit, change.kind.value, change.id, Phase.INTENT, request.reason, data)


def locks_of(plan: ChangePlan) -> list[str]:
    """Everything that a change holds until it is over."""
    return [*(unit_lock(m.unit) for m in plan.members()), *(resource_lock(r) for r in plan.resources)]
