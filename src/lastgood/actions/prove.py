"""prove: that a unit can be taken back, shown while nothing is wrong; changes nothing that runs, and fetches
images again that are not whole.
"""

from __future__ import annotations

from collections.abc import Callable

from lastgood.actions.abilities import snapshots_of
from lastgood.actions.bundling.find import bundles_holding
from lastgood.actions.content import missing_content
from lastgood.actions.context import Context
from lastgood.actions.proving import prove_images
from lastgood.actions.renewing import renewal_of
from lastgood.actions.status import way_back_point
from lastgood.domain.audit import Phase
from lastgood.domain.digest import short
from lastgood.domain.errors import LastgoodError, NotReversible
from lastgood.domain.message import N_, Message
from lastgood.domain.proof import DatabaseProof, Proof
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.restore_point import RestorePoint, Snapshot
from lastgood.domain.secret import Replacement
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork


def prove(context: Context, unit_id: UnitId, told: Callable[[Message], None] = lambda step: None) -> Proof:
    """Read every piece of the way back, mend its images, and load the newest snapshot of each database beside
    it.

    ``told`` hears what begins. What fails is in the result, after the rest was proven too. Raises
    NotReversible when there is nothing to go back to.
    """
    point, old, current, newest = _what_is_kept(context, unit_id)
    with context.store.read() as unit:
        renewed, bundles = _revoked(context, unit, unit_id)
        target = renewal_of(unit, old, context.vault).release
    with context.store.write() as unit:
        context.audit(unit, "prove", str(unit_id), Phase.INTENT, "", {"point": point.id})
    told(
        Message(
            N_("reading all pieces of {release} and of {current}"),
            {"release": short(target.digest), "current": short(current.digest)},
        )
    )
    asking = _with_logins(context, current)
    images = prove_images(context, (_with_logins(context, target), asking), asking, told)
    sound: set[str] = set()
    missing = missing_content(context, target, sound)
    missing_current = missing_content(context, current, sound)
    databases = tuple(
        _prove_database(context, asking, d, newest.get(d.resource), told) for d in current.databases
    )
    proof = Proof(
        unit_id, point.id, point.kind.value, target.digest, current.digest, missing, missing_current,
        databases, context.clock.now(), images, renewed, bundles,
    )  # fmt: skip
    with context.store.write() as unit:
        context.audit(unit, "prove", str(unit_id), Phase.OUTCOME, "", _noted(proof))
    return proof


def _what_is_kept(
    context: Context, unit_id: UnitId
) -> tuple[RestorePoint, Release, Release, dict[str, Snapshot]]:
    """The point, its release, the current release, and the newest snapshot by resource."""
    with context.store.read() as unit:
        digest = unit.releases.current(unit_id)
        point = way_back_point(unit, unit_id, digest) if digest else None
        if point is None:
            raise NotReversible(
                N_("{unit} has no restore point to go back to"),
                todo=N_("A restore point is kept when a guard window ends well; see lastgood status {unit}."),
                where=str(unit_id),
                unit=str(unit_id),
            )
        current = unit.releases.get(digest)
        newest = {
            d.resource: kept[0] for d in current.databases if (kept := unit.points.snapshots(d.resource))
        }
        return point, unit.releases.get(point.release), current, newest


def _revoked(
    context: Context, unit: UnitOfWork, unit_id: UnitId
) -> tuple[dict[str, tuple[Replacement, ...]], tuple[str, ...]]:
    """By restore point, what would come back with another version; and bundles that hold what was revoked."""
    found = {}
    for point in unit.points.list(unit_id):
        if replaced := renewal_of(unit, unit.releases.get(point.release), context.vault).replaced:
            found[point.id] = replaced
    revoked = {revocation.secret for revocation in unit.secrets.revocations()}
    return found, tuple(str(one.directory) for one in bundles_holding(unit, unit_id, revoked))


def _with_logins(context: Context, release: Release) -> Release:
    """As whoever proves logs in somewhere: with versions that may be used, as far as there are any."""
    with context.store.read() as unit:
        return renewal_of(unit, release, context.vault, logins=True).release


def _prove_database(
    context: Context,
    release: Release,
    database: DatabaseTarget,
    snapshot: Snapshot | None,
    told: Callable[[Message], None],
) -> DatabaseProof:
    resource = database.resource
    if snapshot is None:
        return DatabaseProof(resource)
    told(Message(N_("loading the copy of {resource} beside the database"), {"resource": resource}))
    began = context.clock.monotonic()
    proven_at, error = None, None
    try:
        proven = snapshots_of(context.drivers, release, database).prove(snapshot)
    except LastgoodError as failed:
        if failed.own_state:
            raise
        error = failed.what
    else:
        proven_at = proven.proven_at
        with context.store.write() as unit:
            unit.points.add_snapshot(proven)
    seconds = context.clock.monotonic() - began
    return DatabaseProof(resource, snapshot.id, snapshot.size, snapshot.created_at, proven_at, seconds, error)


def _noted(proof: Proof) -> dict[str, object]:
    return {
        "point": proof.point,
        "good": proof.good,
        "missing": [*proof.missing, *proof.missing_current],
        "renewed": {point: [one.name for one in replaced] for point, replaced in proof.renewed.items()},
        "images": {
            i.digest: [str(e) for e in i.errors] or f"{i.fetched} bytes fetched" for i in proof.images
        },
        "databases": {d.resource: str(d.error or d.snapshot) for d in proof.databases},
    }
