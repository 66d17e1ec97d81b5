"""Accepting a change: rollout, locks, audit intent and outbox row in one transaction."""

from __future__ import annotations

import secrets
from datetime import datetime

from lastgood.actions.context import Context
from lastgood.domain.audit import Phase
from lastgood.domain.digest import short
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.domain.plan import Plan, PlanKind, StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.ports.persistence import UnitOfWork


def rollout_id(now: datetime) -> str:
    """Sorts by time, is short enough to type, and never collides: ``r-261123-064512-3fa9``."""
    return f"r-{now:%y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def accept_plan(
    context: Context, plan: Plan, release: Release, change: Request, *, undoes: str = "", incident: str = ""
) -> Rollout:
    """Raises Conflict when the unit moved since the plan was made, is locked, or (a change) is frozen."""
    now = context.clock.now()
    rollout = Rollout(
        rollout_id(now), plan.kind, plan.unit, plan.base, plan.target, plan, change,
        RolloutState.ACCEPTED, now, undoes=undoes, incident=incident,
    )  # fmt: skip
    with context.store.write() as unit:
        _refuse_stale(unit, plan)
        if plan.kind is PlanKind.DEPLOY:
            refuse_frozen(unit, plan)
            refuse_unsettled(unit, release)
        unit.locks.take([f"unit:{plan.unit}", *(f"resource:{r}" for r in plan.resources)], rollout.id)
        unit.releases.put(release)
        unit.rollouts.add(rollout)
        unit.wishes.enqueue(rollout.id)
        data = {"rollout": rollout.id, "plan": plan.digest, "owner": change.owner, "impact": change.impact,
                "from": plan.base, "to": plan.target, "commit": plan.commit}  # fmt: skip
        context.audit(unit, plan.kind.value, str(plan.unit), Phase.INTENT, change.reason, data)
    return rollout


def _refuse_stale(unit: UnitOfWork, plan: Plan) -> None:
    current = unit.releases.current(plan.unit)
    if current != plan.base:
        raise Conflict(
            N_("the plan was made when {unit} was on {base}; now it is on {current}"),
            todo=N_("Plan again and look at what changed: lastgood history {unit}"),
            where=str(plan.unit),
            unit=str(plan.unit),
            base=short(plan.base) or "-",
            current=short(current) or "-",
        )


def refuse_frozen(unit: UnitOfWork, plan: Plan) -> None:
    for freeze in unit.incidents.freezes(plan.unit):
        raise Conflict(
            N_("{unit} is frozen since {at}: {reason}"),
            todo=N_('When the cause is found: lastgood unfreeze {unit} --reason "…"'),
            where=freeze.incident or freeze.id,
            unit=str(plan.unit),
            at=f"{freeze.at:%Y-%m-%d %H:%M:%S}",
            reason=str(freeze.reason),
        )


def refuse_unsettled(unit: UnitOfWork, release: Release) -> None:
    """Raises Conflict while another unit's way back takes out a migration that ``release`` needs.

    The way back asks who needs a migration just before it reverts; from then on until it ends nobody may
    come to need it, so both questions are settled by the lock it holds on the resource.
    """
    for database in release.databases:
        holder = unit.locks.holder(f"resource:{database.resource}")
        if not holder:
            continue
        reverted = {
            step.params["migration"]
            for step in unit.rollouts.get(holder).plan.steps
            if step.kind is StepKind.REVERT_SCHEMA and step.params["resource"] == database.resource
        }
        needed = [m.name for m in database.migrations if m.name in reverted]
        if needed:
            raise Conflict(
                N_("{rollout} is taking {name} out of {resource}, and this release needs it"),
                todo=N_("Wait for its end (lastgood show {rollout} --follow), then plan again."),
                where=database.resource,
                rollout=holder,
                name=needed[0],
                resource=database.resource,
            )
