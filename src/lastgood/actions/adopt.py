"""adopt: the state observed before the first change becomes the baseline, a way back (law 1)."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.abilities import files_of, migrates_of, traffic_of
from lastgood.actions.content import keep_scripts
from lastgood.actions.context import Context
from lastgood.actions.renewing import give
from lastgood.actions.secrets import password_names, with_secrets
from lastgood.domain.audit import Phase
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_
from lastgood.domain.release import DatabaseTarget, FileEntry, Release, SecretVersion
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.unit import UnitId


def adopt(context: Context, unit_id: UnitId, reason: str = "") -> RestorePoint:
    """Observe the unit where the estate says it is, and keep what was seen.

    Raises Conflict when the unit has a history already, DriverError when a target can't be seen.
    """
    estate = context.need_estate().at("HEAD")
    rendered = estate.render(unit_id)
    with context.store.read() as unit:
        known = unit.releases.current(unit_id)
    if known:
        raise Conflict(
            N_("{unit} is known already: it is on {release}"),
            todo=N_("See lastgood history {unit}."),
            where=str(unit_id),
            unit=str(unit_id),
            release=known[7:19],
        )
    keep_scripts(context.objects, rendered)
    return take_baseline(context, with_secrets(context, rendered)[0], reason or "first look")


def take_baseline(context: Context, template: Release, reason: str) -> RestorePoint:
    """The unit's targets as they are now, written as release and restore point (kind baseline)."""
    release = _observed(context, template)
    now = context.clock.now()
    point = RestorePoint(
        f"rp-{release.unit.slug}-baseline", release.unit, release.digest, PointKind.BASELINE, now
    )
    with context.store.write() as unit:
        if not unit.releases.current(release.unit):
            unit.releases.put(release)
            unit.releases.set_current(release.unit, release.digest, now)
            unit.points.add(point)
            give(unit, release, context.actor.name, context.clock)
            data = {"release": release.digest, "files": len(release.files), "upstream": release.upstream}
            context.audit(unit, "adopt", str(release.unit), Phase.OUTCOME, reason, data)
    return point


def _observed(context: Context, template: Release) -> Release:
    files: tuple[FileEntry, ...] = ()
    if (places := files_of(context.drivers, template)) is not None:
        files = places.capture()
    upstreams: tuple[str, ...] = ()
    if (traffic := traffic_of(context.drivers, template)) is not None:
        upstreams = traffic.current().addresses
    databases = tuple(_database(context, template, d) for d in template.databases)
    return Release(
        template.unit, "", files, secrets=_passwords(template), databases=databases,
        files_target=template.files_target,
        traffic=template.traffic, windows=template.windows, origin="baseline",
        upstream="".join(upstreams[:1]), more_upstreams=upstreams[1:],
    )  # fmt: skip


def _passwords(template: Release) -> tuple[SecretVersion, ...]:
    """Only what is needed to reach the databases: nothing else of a baseline is known, so nothing is kept."""
    names = password_names(template)
    return tuple(secret for secret in template.secrets if secret.name in names)


def _database(context: Context, template: Release, database: DatabaseTarget) -> DatabaseTarget:
    applied = {name for name, _ in migrates_of(context.drivers, template, database).applied()}
    standing = tuple(m for m in database.migrations if m.name in applied)
    return replace(database, migrations=standing)
