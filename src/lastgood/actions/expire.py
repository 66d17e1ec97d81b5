"""expire: copies of customers' data that are old and that nothing needs go, once a person has seen which."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from lastgood.actions.abilities import database_target, snapshots_of
from lastgood.actions.context import Context
from lastgood.actions.heal import current_release
from lastgood.actions.renewing import with_valid_secrets
from lastgood.domain.audit import Phase
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.expiry import DatabaseExpiry, Expiry
from lastgood.domain.message import N_
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.rollout import Rollout
from lastgood.domain.unit import UnitId
from lastgood.planning.pruning import outdated
from lastgood.planning.steps import days_kept
from lastgood.ports.drivers import Drivers
from lastgood.ports.expiring import KeepsAside
from lastgood.ports.persistence import Store, UnitOfWork


def plan_expiry(context: Context, unit_id: UnitId, *, days: int = 0) -> Expiry:
    """What would go: older than ``days``, else than each database says. Looks only.

    Raises InvalidInput where nothing says how old, Conflict while somebody is at work on a database.
    """
    release = with_valid_secrets(context.store, context.vault, current_release(context, unit_id))
    found = []
    for database in release.databases:
        age = days or days_kept(release).get(database.resource, 0)
        if age:
            before = context.clock.now() - timedelta(days=age)
            found.append(_outdated(context, release, database, before))
    if not found:
        raise InvalidInput(
            N_("nothing says after how many days copies of {unit}'s databases may go"),
            todo=N_("Say it with --older-than, or declare settings: {{keep_days: 30}} in database.yaml."),
            where=str(unit_id),
            unit=str(unit_id),
        )
    return Expiry(unit_id, tuple(found))


def expire(context: Context, planned: Expiry, *, reason: str) -> Expiry:
    """Exactly what was ``planned``, as far as nothing needs it by now; returns what went.

    Raises InvalidInput without a reason, Conflict, DriverError when a server answers no or not at all.
    """
    if not reason.strip():
        raise InvalidInput(
            N_("copies of customers' data go with a reason only"), todo=N_('Say why: --reason "…"')
        )
    release = with_valid_secrets(context.store, context.vault, current_release(context, planned.unit))
    gone = []
    for one in planned.databases:
        database = release.database(one.resource)
        if database is not None:
            gone.append(_expire(context, release, database, one, reason))
    return Expiry(planned.unit, tuple(gone), done=True)


def _expire(
    context: Context, release: Release, database: DatabaseTarget, planned: DatabaseExpiry, reason: str
) -> DatabaseExpiry:
    now = _outdated(context, release, database, planned.before)
    wanted = {snapshot.id for snapshot in planned.snapshots}
    numbers = {(record.kind, record.number) for record in planned.aside}
    going = replace(
        now,
        snapshots=tuple(s for s in now.snapshots if s.id in wanted),
        aside=tuple(r for r in now.aside if (r.kind, r.number) in numbers),
    )
    data = {
        "before": going.before.isoformat(),
        "snapshots": [snapshot.id for snapshot in going.snapshots],
        "aside": [f"{r.kind.value} {r.number}: {r.migration} {r.relation} {r.rows}" for r in going.aside],
    }
    with context.store.write() as unit:
        context.audit(unit, "expire", database.resource, Phase.INTENT, reason, data)
    driver = context.drivers.get(release.unit, database_target(release, database))
    if going.aside and isinstance(driver, KeepsAside):
        driver.drop_aside(going.aside)
    for snapshot in going.snapshots:
        discard(context.store, context.drivers, release, database, snapshot, context.clock.now())
    with context.store.write() as unit:
        context.audit(unit, "expire", database.resource, Phase.OUTCOME, reason, data)
    return going


def _outdated(
    context: Context, release: Release, database: DatabaseTarget, before: datetime
) -> DatabaseExpiry:
    with context.store.read() as unit:
        busy = [r.id for r in unit.rollouts.open() if _uses(unit, r, database.resource)]
        if busy:
            raise Conflict(
                N_("{rollout} is at work on {resource}"),
                todo=N_("Wait until it has ended: lastgood show {rollout} --follow"),
                where=database.resource,
                rollout=busy[0],
                resource=database.resource,
            )
        snapshots = snapshots_outdated(unit, database.resource, before)
    driver = context.drivers.get(release.unit, database_target(release, database))
    aside = tuple(driver.kept_aside(before)) if isinstance(driver, KeepsAside) else ()
    return DatabaseExpiry(database.resource, before, snapshots, aside)


def snapshots_outdated(unit: UnitOfWork, resource: str, before: datetime) -> tuple[Snapshot, ...]:
    """Those of no restore point, no open capture and no open rollout; and never the newest."""
    needed = {capture.snapshot for capture in unit.captures.list()}
    for known in unit.releases.units():
        needed |= {snapshot for point in unit.points.list(known) for snapshot in point.snapshots}
    began = [r.created_at for r in unit.rollouts.open() if _uses(unit, r, resource)]
    return outdated(unit.points.snapshots(resource), before, needed, began)


def discard(
    store: Store,
    drivers: Drivers,
    release: Release,
    database: DatabaseTarget,
    snapshot: Snapshot,
    now: datetime,
) -> None:
    """The files first: whoever dies in between finds it once more, and discarding again is no error."""
    snapshots_of(drivers, release, database).discard(snapshot)
    with store.write() as unit:
        unit.points.add_snapshot(replace(snapshot, discarded_at=now))


def _uses(unit: UnitOfWork, rollout: Rollout, resource: str) -> bool:
    """Also where neither of its releases names it: a restore may be of one that the unit used before."""
    digests = [digest for digest in (rollout.base, rollout.target) if digest]
    return resource in rollout.plan.resources or any(
        unit.releases.get(digest).database(resource) for digest in digests
    )
