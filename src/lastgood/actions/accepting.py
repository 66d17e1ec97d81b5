"""Accepting a change of one unit: rollout, locks, audit intent and outbox row in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from lastgood.actions.context import Context
from lastgood.actions.contracting import refuse_behind, refuse_to_fall_behind
from lastgood.actions.holding import refuse_held, resource_lock, stop_change, unit_lock
from lastgood.actions.renewing import give, refuse_lacking, refuse_revoked, renewal_of
from lastgood.actions.set_aside import refuse_quarantined
from lastgood.domain.audit import Phase
from lastgood.domain.change import is_change
from lastgood.domain.digest import short
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.domain.plan import Plan, PlanKind, StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import Request, Rollout, RolloutState, StopRequest
from lastgood.domain.unit import UnitId
from lastgood.planning.users import stopped_by
from lastgood.ports.persistence import UnitOfWork


def rollout_id(now: datetime) -> str:
    """Sorts by time, is short enough to type, and never collides: ``r-261123-064512-3fa9``."""
    return f"r-{_moment(now)}"


def change_id(now: datetime) -> str:
    """The same for a change: ``c-261123-064512-3fa9``."""
    return f"c-{_moment(now)}"


def _moment(now: datetime) -> str:
    return f"{now:%y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def accept_plan(
    context: Context,
    plan: Plan,
    release: Release,
    request: Request,
    *,
    undoes: str = "",
    incident: str = "",
    data: Mapping[str, Any] = MappingProxyType({}),
) -> Rollout:
    """``data`` goes into the audit with the intent.

    Raises Conflict when the unit moved since the plan was made, is locked, the release is set aside, or (a
    change) is frozen.
    """
    now = context.clock.now()
    rollout = Rollout(
        rollout_id(now), plan.kind, plan.unit, plan.base, plan.target, plan, request,
        RolloutState.ACCEPTED, now, undoes=undoes, incident=incident,
    )  # fmt: skip
    with context.store.write() as unit:
        if plan.kind is PlanKind.ROLLBACK:
            _take_out(context, unit, rollout)
        accept_in(context, unit, rollout, release, data)
    return rollout


def accept_in(
    context: Context,
    unit: UnitOfWork,
    rollout: Rollout,
    release: Release,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """The same inside the caller's transaction. A change that the unit is part of hands over the unit's lock,
    and keeps those of the resources.
    """
    plan, request = rollout.plan, rollout.change
    refuse_move(context, unit, plan, release)
    resources = [resource_lock(r) for r in plan.resources]
    if rollout.part_of:
        unit.locks.move(rollout.part_of, rollout.id, [unit_lock(plan.unit)])
        unit.locks.take(resources, rollout.part_of)
    else:
        stopped = [unit_lock(one) for one in plan.stops]
        unit.locks.take([unit_lock(plan.unit), *stopped, *resources], rollout.id)
        if plan.kind is PlanKind.DEPLOY:
            give(unit, release, request.requested_by, context.clock)
    unit.releases.put(release)
    unit.rollouts.add(rollout)
    unit.wishes.enqueue(rollout.id)
    data = {"rollout": rollout.id, "plan": plan.digest, "owner": request.owner, "impact": request.impact,
            "from": plan.base, "to": plan.target, "commit": plan.commit, **more}  # fmt: skip
    if rollout.part_of:
        data["change"] = rollout.part_of
    context.audit(unit, plan.kind.value, str(plan.unit), Phase.INTENT, request.reason, data)


def _take_out(context: Context, unit: UnitOfWork, rollout: Rollout) -> None:
    """A person's way back does not wait for a change in which the unit's turn has not come, or is over: the
    change begins no further unit, and leaves this one to the person.
    """
    lock = unit_lock(rollout.unit)
    holder = unit.locks.holder(lock)
    if is_change(holder):
        by, now = context.actor.name, context.clock.now()
        stop_change(
            unit, unit.changes.get(holder), StopRequest(holder, "stop", by, rollout.change.reason, now)
        )
        unit.locks.release(holder, [lock])


def refuse_move(context: Context, unit: UnitOfWork, plan: Plan, release: Release) -> None:
    """Raises Conflict when the unit moved since the plan was made, the release is set aside, a secret it
    would start with was revoked, or (a change) it is frozen or needs what a way back is taking out;
    NotReversible when a change could not go back, because what its base needs was revoked.
    """
    _refuse_stale(unit, plan)
    if plan.kind is not PlanKind.RESTORE:  # It starts nothing, and logs in with what is valid.
        refuse_revoked(unit, release)
    if plan.kind is PlanKind.DEPLOY:
        refuse_frozen(unit, plan.unit)
        refuse_unsettled(unit, release)
        refuse_behind(unit, plan, release)
        if plan.base:
            base = unit.releases.get(plan.base)
            refuse_lacking(renewal_of(unit, base, context.vault, coming=release))
    if plan.kind in (PlanKind.DEPLOY, PlanKind.ROLLBACK):
        refuse_quarantined(unit, release)
        _refuse_restoring(unit, plan, release)
    if plan.kind is PlanKind.ROLLBACK:
        refuse_to_fall_behind(unit, release)
    if plan.kind is PlanKind.RESTORE:
        _refuse_at_work(unit, plan)
    _refuse_stops(unit, plan)


def _refuse_stops(unit: UnitOfWork, plan: Plan) -> None:
    """Raises Conflict where a unit that has to be stopped with this one is not on what the plan would start
    again, is held, frozen (a change), or could not start because a secret of it was revoked.
    """
    for name, digest in stopped_by(plan).items():
        other = UnitId.parse(name)
        refuse_held(unit, other)
        if unit.releases.current(other) != digest:
            raise Conflict(
                N_("the plan stops and starts {unit} again, which has another release since"),
                todo=N_("Plan again; nothing was changed."),
                where=name,
                unit=name,
            )
        refuse_revoked(unit, unit.releases.get(digest))
        if plan.kind is PlanKind.DEPLOY:
            refuse_frozen(unit, other)


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


def refuse_frozen(unit: UnitOfWork, unit_id: UnitId) -> None:
    for freeze in unit.incidents.freezes(unit_id):
        raise Conflict(
            N_("{unit} is frozen since {at}: {reason}"),
            todo=N_('When the cause is found: lastgood unfreeze {unit} --reason "…"'),
            where=freeze.incident or freeze.id,
            unit=str(unit_id),
            at=f"{freeze.at:%Y-%m-%d %H:%M:%S}",
            reason=str(freeze.reason),
        )


def refuse_unsettled(unit: UnitOfWork, release: Release) -> None:
    """Raises Conflict while another unit's way back takes out a migration that ``release`` needs.

    The way back asks who needs a migration just before it reverts; from then on until it ends nobody may
    come to need it, so both questions are settled by the lock it, or its change, holds on the resource.
    """
    for database in release.databases:
        for rollout in _at_work_on(unit, database.resource):
            reverted = {
                step.params["migration"]
                for step in rollout.plan.steps
                if step.kind is StepKind.REVERT_SCHEMA and step.params["resource"] == database.resource
            }
            needed = [m.name for m in database.migrations if m.name in reverted]
            if needed:
                raise Conflict(
                    N_("{rollout} is taking {name} out of {resource}, and this release needs it"),
                    todo=N_("Wait for its end (lastgood show {rollout} --follow), then plan again."),
                    where=database.resource,
                    rollout=rollout.id,
                    name=needed[0],
                    resource=database.resource,
                )


def _refuse_restoring(unit: UnitOfWork, plan: Plan, release: Release) -> None:
    """Raises Conflict while a database of ``release`` goes back to a snapshot: for a change; for a way back
    where it needs what the snapshot lacks.
    """
    for database in release.databases:
        for rollout in _at_work_on(unit, database.resource):
            if rollout.kind is not PlanKind.RESTORE:
                continue
            there = next((s.params["applied"] for s in rollout.plan.steps if "applied" in s.params), ())
            if plan.kind is PlanKind.DEPLOY or any(m.name not in there for m in database.migrations):
                raise Conflict(
                    N_("{rollout} takes {resource} back to a snapshot"),
                    todo=N_("Wait for its end (lastgood show {rollout} --follow), then try again."),
                    where=database.resource,
                    rollout=rollout.id,
                    resource=database.resource,
                )


def _refuse_at_work(unit: UnitOfWork, plan: Plan) -> None:
    """Raises Conflict while somebody deploys on a database that would go back: what its gate measured then
    would be the restore.
    """
    working = [(r.id, r.target) for r in unit.rollouts.open() if r.kind is PlanKind.DEPLOY]
    for change in unit.changes.open():
        if change.kind is PlanKind.DEPLOY:
            working += [(change.id, unit.releases.current(m.unit)) for m in change.plan.members()]
    for name, digest in working:
        release = unit.releases.get(digest) if digest else None
        used = [r for r in plan.resources if release is not None and release.database(r)]
        if used:
            raise Conflict(
                N_("{rollout} is at work on a unit that uses {resource}"),
                todo=N_("Wait for its end (lastgood show {rollout} --follow), or take it back first."),
                where=used[0],
                rollout=name,
                resource=used[0],
            )


def _at_work_on(unit: UnitOfWork, resource: str) -> Iterable[Rollout]:
    """The rollout that holds a resource; where a change does, those of its units that are open."""
    holder = unit.locks.holder(resource_lock(resource))
    if not holder:
        return ()
    if is_change(holder):
        return [rollout for rollout in unit.rollouts.open() if rollout.part_of]
    return [unit.rollouts.get(holder)]
