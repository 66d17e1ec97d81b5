"""unfreeze: lift the freezes of a unit, with a reason."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.context import Context
from lastgood.domain.audit import Phase
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId


def unfreeze(context: Context, unit_id: UnitId, *, reason: str) -> int:
    """Returns how many were lifted. Raises Conflict when none is in force."""
    if not reason.strip():
        raise InvalidInput(
            N_("lifting a freeze needs a reason"),
            todo=N_('Say what was found: --reason "…"'),
            where=str(unit_id),
        )
    now = context.clock.now()
    with context.store.write() as unit:
        freezes = list(unit.incidents.freezes(unit_id))
        if not freezes:
            raise Conflict(
                N_("{unit} is not frozen"),
                todo=N_("Nothing to do; see lastgood status {unit}."),
                where=str(unit_id),
                unit=str(unit_id),
            )
        for freeze in freezes:
            lifted = replace(freeze, lifted_at=now, lifted_by=context.actor.name, lifted_reason=reason)
            unit.incidents.freeze(lifted)
        data = {"freezes": [f.id for f in freezes]}
        context.audit(unit, "unfreeze", str(unit_id), Phase.OUTCOME, reason, data)
    return len(freezes)
