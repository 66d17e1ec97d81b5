"""What failed is set aside in the transaction that ends it, and refused wherever it would come back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lastgood.domain.digest import short
from lastgood.domain.errors import Conflict, GateFailed, NeverReady
from lastgood.domain.incident import Incident
from lastgood.domain.message import N_, Message
from lastgood.domain.quarantine import Quarantine, QuarantineKind, first_holding, set_aside
from lastgood.domain.release import Release
from lastgood.domain.restore_point import RestorePoint
from lastgood.domain.rollout import Rollout
from lastgood.engine.handlers import Failure
from lastgood.ports.persistence import UnitOfWork

OWN_FAULT = frozenset({GateFailed.__name__, NeverReady.__name__})
"""Errors that say: it was the release itself. A target that does not answer, too little room, drift and a
person's wish don't.
"""
NAMES = {
    QuarantineKind.IMAGE: N_("image {name}"),
    QuarantineKind.ARTIFACT: N_("artifact {name}"),
    QuarantineKind.RELEASE: N_("release {name}"),
    QuarantineKind.COMMIT: N_("commit {name} of {service}"),
    QuarantineKind.DATABASE: N_("database {name}"),
}


def refuse_quarantined(unit: UnitOfWork, release: Release) -> None:
    """Raises Conflict when something in ``release`` is set aside, naming the incident and how to lift it."""
    held = [q for q in unit.quarantine.list() if q.holds(release)]
    if not held:
        return
    first = held[-1]
    raise Conflict(
        N_("{thing} failed on {unit} and is set aside since {at} ({incident}): {reason}")
        if first.incident
        else N_("{thing} was set aside by {by} at {at}: {reason}"),
        todo=N_('When it is known to be good: lastgood quarantine lift {lift} --reason "…"'),
        where=first.incident or first.id,
        thing=named(first),
        unit=first.unit,
        at=f"{first.at:%Y-%m-%d %H:%M:%S}",
        incident=first.incident,
        by=first.by,
        reason=str(first.reason),
        lift=first.id if len(held) == 1 else first.incident or first.id,
    )


def named(quarantine: Quarantine) -> Message:
    """What is set aside, for people."""
    words = {"name": short(quarantine.name), "service": quarantine.service}
    return Message(NAMES[quarantine.kind], words)


def releases_aside(unit: UnitOfWork, points: Sequence[RestorePoint]) -> frozenset[str]:
    """Releases of ``points`` to which nobody goes back until they are lifted."""
    in_force = unit.quarantine.list()
    if not in_force:
        return frozenset()
    releases = (unit.releases.get(digest) for digest in {point.release for point in points})
    return frozenset(r.digest for r in releases if first_holding(in_force, r))


def quarantine_failed(
    unit: UnitOfWork, rollout: Rollout, failure: Failure, incident: Incident, now: datetime
) -> tuple[Quarantine, ...]:
    """Set aside what failed by its own fault, in the caller's transaction; nothing for any other failure."""
    if failure.error not in OWN_FAULT or failure.interrupted_by:
        return ()
    failed, base = unit.releases.get(rollout.target), unit.releases.get(rollout.base)
    found = set_aside(
        failed, base, rollout=rollout.id, reason=failure.what, incident=incident.id, at=now
    )  # fmt: skip
    for quarantine in found:
        unit.quarantine.put(quarantine)
    return found
