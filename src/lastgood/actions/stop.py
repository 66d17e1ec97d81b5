"""stop: let a change begin no further unit; what was begun goes on to its end."""

from __future__ import annotations

from lastgood.actions.context import Context
from lastgood.actions.holding import stop_change
from lastgood.domain.audit import Phase
from lastgood.domain.change import Change
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.rollout import StopRequest


def stop(context: Context, change_id: str, *, reason: str) -> Change:
    """Asked twice, it stops once. Raises Conflict when it is over, or goes back."""
    if not reason.strip():
        raise InvalidInput(
            N_("stopping a change needs a reason"), todo=N_('Say why: --reason "…"'), where=change_id
        )
    with context.store.write() as unit:
        change = unit.changes.get(change_id)
        request = StopRequest(change.id, "stop", context.actor.name, reason, context.clock.now())
        stop_change(unit, change, request)
        context.audit(unit, "stop", change.id, Phase.INTENT, reason, {"change": change.id})
    return change
