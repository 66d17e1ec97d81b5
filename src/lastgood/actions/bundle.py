"""bundle: write a unit's restore point as plain files with a script, for the day without lastgood (B1)."""

from __future__ import annotations

from pathlib import Path

from lastgood.actions.bundling.databases import bundled_databases
from lastgood.actions.bundling.write import write_bundle
from lastgood.actions.context import Context
from lastgood.actions.points import choose_point
from lastgood.actions.renewing import refuse_lacking, renewal_of
from lastgood.actions.rollback import refuse_incomplete
from lastgood.actions.set_aside import releases_aside
from lastgood.domain.audit import Phase
from lastgood.domain.bundle import Bundle
from lastgood.domain.errors import NotReversible
from lastgood.domain.message import N_
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork


def bundle(context: Context, unit_id: UnitId, *, to: Path, point: str = "") -> Bundle:
    """Of ``point`` (a restore point or release), else of the newest good one; one that is there is replaced.
    What was revoked of its secrets is in the newest valid version. Each of its databases is in it, sealed.

    Raises NotReversible when there is no good restore point or a piece of it is not here, InvalidInput when
    the unit's drivers can't be written down as commands, DriverError when ``to`` can't be written.
    """
    with context.store.read() as unit:
        chosen = _named_or_newest(unit, unit_id, point)
        renewal = renewal_of(unit, unit.releases.get(chosen.release), context.vault)
    refuse_lacking(renewal)
    release = renewal.release
    refuse_incomplete(context, release)
    made = f"{context.clock.now():%Y-%m-%d %H:%M:%S %Z}"
    databases = bundled_databases(
        context.store, context.drivers, context.objects, context.clock, release, chosen
    )
    written = write_bundle(
        context.drivers, context.objects, context.vault, context.images, release, chosen, to, made, databases
    )
    with context.store.write() as unit:
        data = {"point": chosen.id, "release": release.digest, "directory": str(written.directory)}
        context.audit(unit, "bundle", str(unit_id), Phase.OUTCOME, "", data)
    return written


def _named_or_newest(unit: UnitOfWork, unit_id: UnitId, named: str) -> RestorePoint:
    points = unit.points.list(unit_id)
    if named:
        return choose_point(unit_id, points, "", named)
    aside = releases_aside(unit, points)
    for point in points:
        if point.kind is not PointKind.BASELINE and point.release not in aside:
            return point
    raise NotReversible(
        N_("{unit} has no restore point to go back to"),
        todo=N_("A restore point is kept when a guard window ends well; see lastgood status {unit}."),
        where=str(unit_id),
        unit=str(unit_id),
    )
