"""Restore bundles that hold a revoked secret: written anew with the newest valid version."""

from __future__ import annotations

from collections.abc import Collection

from lastgood.actions.bundling.databases import bundled_databases
from lastgood.actions.bundling.find import FoundBundle, bundles_holding
from lastgood.actions.bundling.write import write_bundle
from lastgood.actions.context import Context
from lastgood.actions.renewing import refuse_lacking, renewal_of
from lastgood.actions.rollback import refuse_incomplete
from lastgood.domain.errors import LastgoodError, NotReversible
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.domain.secret import BundleLeft
from lastgood.domain.unit import UnitId


def rewrite_bundles(
    context: Context, units: Collection[UnitId], secrets: Collection[SecretVersion]
) -> tuple[tuple[str, ...], tuple[BundleLeft, ...]]:
    """The directories written, and the bundles that still hold one of ``secrets``."""
    with context.store.read() as unit:
        found = [one for unit_id in sorted(units) for one in bundles_holding(unit, unit_id, secrets)]
    written: list[str] = []
    left: list[BundleLeft] = []
    for one in found:
        try:
            written.append(_rewrite(context, one))
        except LastgoodError as error:
            if error.own_state:
                raise
            left.append(BundleLeft(one.unit, str(one.directory), error.what))
    return tuple(written), tuple(left)


def _rewrite(context: Context, found: FoundBundle) -> str:
    if not found.newest:
        raise NotReversible(N_("its directory leads to another bundle: delete this one by hand"))
    with context.store.read() as unit:
        release = unit.releases.get(found.release)
        point = next((p for p in unit.points.list(found.unit) if p.release == release.digest), None)
        renewal = renewal_of(unit, release, context.vault)
    if point is None:
        raise NotReversible(N_("its restore point is not kept any more: delete it by hand"))
    refuse_lacking(renewal)
    refuse_incomplete(context, renewal.release)
    made = f"{context.clock.now():%Y-%m-%d %H:%M:%S %Z}"
    databases = bundled_databases(
        context.store, context.drivers, context.objects, context.clock, renewal.release, point
    )
    bundle = write_bundle(
        context.drivers, context.objects, context.vault, context.images, renewal.release, point,
        found.directory.parent, made, databases,
    )  # fmt: skip
    return str(bundle.directory)
