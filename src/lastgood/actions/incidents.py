"""An incident: freeze, observe, roll back, notify, evidence (R24)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from lastgood.domain.errors import GateInconclusive
from lastgood.domain.incident import Freeze, Incident
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.engine.handlers import Failure
from lastgood.ports.persistence import UnitOfWork


def open_incident(
    unit: UnitOfWork, rollout: Rollout, failure: Failure, *, touched: bool, now: datetime
) -> Incident:
    """Opens it once per rollout. Customers were touched (``touched``) by a fault: changes are frozen too.

    Too little evidence is no fault to be found.
    """
    incident = Incident(f"in-{rollout.id}", rollout.unit, rollout.id, failure.what, now)
    unit.incidents.put(incident)
    if touched and not failure.interrupted_by and failure.error != GateInconclusive.__name__:
        freeze = Freeze(f"fr-{rollout.id}", str(rollout.unit), failure.what, "lastgood", now, incident.id)
        unit.incidents.freeze(freeze)
    return incident


def close_incident(
    unit: UnitOfWork, rollback: Rollout, state: RolloutState, evidence: str, now: datetime
) -> None:
    """Write the outcome of the way back; an incomplete one leaves the incident open."""
    for incident in unit.incidents.list(rollback.unit):
        if incident.id != rollback.incident:
            continue
        closed = now if state is not RolloutState.INCOMPLETE else None
        unit.incidents.put(
            replace(incident, outcome=state.value, evidence=evidence, closed_at=closed, rollback=rollback.id)
        )
