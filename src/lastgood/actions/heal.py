"""heal: have a unit again as it was released, in one command: files, processes, traffic (R6)."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.accepting import accept_plan
from lastgood.actions.context import Context
from lastgood.actions.deploy import refuse_busy
from lastgood.actions.drift import detect
from lastgood.actions.renewing import refuse_lacking, renewal_of
from lastgood.actions.rollback import refuse_incomplete
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.observation import Drift
from lastgood.domain.plan import Difference
from lastgood.domain.release import Release
from lastgood.domain.rollout import Request, Rollout
from lastgood.domain.unit import UnitId
from lastgood.planning.difference import difference
from lastgood.planning.moves import Move, plan_heal


def find_drift(context: Context, unit_id: UnitId) -> tuple[Drift, ...]:
    """What differs now from what was last released. Raises InvalidInput for a unit never released."""
    return detect(context.drivers, current_release(context, unit_id))


def heal(context: Context, unit_id: UnitId, *, reason: str = "") -> Rollout:
    """Place, start and route what was released again; what was edited is set aside, not deleted. What runs
    with a revoked secret starts anew with the newest valid one. Raises NotReversible when there is none.
    """
    refuse_busy(context, unit_id)
    current = current_release(context, unit_id)
    with context.store.read() as unit:
        renewal = renewal_of(unit, current, context.vault)
    refuse_lacking(renewal)
    release = renewal.release
    refuse_incomplete(context, release)
    changes = difference(current, release, context.objects.get) if renewal.changes else Difference()
    plan = plan_heal(Move(current, release, (), {}, lambda kind: (), changes))
    plan = replace(plan, notes=(*renewal.notes, *plan.notes))
    context.store.put_plan(plan, release, current)
    now = context.clock.now()
    request = Request(reason or "drift", context.actor.name, str(unit_id), context.actor.name, now)
    return accept_plan(context, plan, release, request)


def current_release(context: Context, unit_id: UnitId) -> Release:
    with context.store.read() as unit:
        current = unit.releases.current(unit_id)
        if current:
            return unit.releases.get(current)
    raise InvalidInput(
        N_("{unit} was never deployed or adopted here"),
        todo=N_("See lastgood status for what is known."),
        where=str(unit_id),
        unit=str(unit_id),
    )
