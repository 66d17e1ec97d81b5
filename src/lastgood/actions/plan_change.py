"""plan: what a change would do and how it would be undone, computed and shown before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType

from lastgood.actions.abilities import classifies_of, drains_of, migrates_of, splits_of
from lastgood.actions.adopt import take_baseline
from lastgood.actions.captures import before_notes, capture_obstacles, copy_rooms, data_left
from lastgood.actions.content import keep_scripts
from lastgood.actions.context import Context
from lastgood.actions.contracting import held_back, refuse_from_before
from lastgood.actions.images import Lookups
from lastgood.actions.needs import needed_by_others
from lastgood.actions.rehearsing import Among, Told, journeys_between, rehearse_first, undone, unheard
from lastgood.actions.renewing import refuse_lacking, renewal_of
from lastgood.actions.reviewing import lock_notes, refuse_undo, server_notes
from lastgood.actions.secrets import with_secrets
from lastgood.actions.set_aside import refuse_quarantined, releases_aside
from lastgood.domain.criterion import Verdict
from lastgood.domain.digest import short
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan, Reversibility, StepKind
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.unit import Environment, UnitId
from lastgood.planning.difference import difference
from lastgood.planning.moves import Move, plan_deploy, revertible, staying
from lastgood.planning.promotion import contractions, environments_before, was_verified
from lastgood.planning.renewal import with_cold_way_back
from lastgood.planning.schema import (
    SchemaState,
    lacking_users,
    refuse_forward_only,
    schema_move,
)
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.estate import Estate

Applied = Mapping[str, Sequence[tuple[str, str]]]
"""Resource → migrations (name, digest), oldest first."""


@dataclass(frozen=True)
class PlannedChange:
    """A plan with what it was made of; ``secrets`` are values in memory only, to be sealed on acceptance."""

    plan: Plan
    release: Release
    base: Release
    contents: Mapping[str, bytes]
    secrets: Mapping[str, str]


class NothingToChange(InvalidInput):
    """The unit is on exactly this already."""


class StillWaiting(NothingToChange):
    """The same, but for a migration that comes after the last wave."""


def plan_change(
    context: Context,
    unit_id: UnitId,
    revision: str = "HEAD",
    *,
    rehearse: bool = True,
    told: Told = unheard,
) -> PlannedChange:
    """Plan moving ``unit_id`` to a commit. Takes the baseline when the unit was never touched.

    ``rehearse``: try its migrations on a copy first, else the rollout does; ``told`` hears what takes long.
    Raises InvalidInput (estate, criteria, nothing to change), Conflict (stale, unverified base, set aside,
    not promoted), NotReversible (a migration without a way back), DriverError (a target can't be seen, a
    registry has not the image, a script fails).
    """
    estate = open_estate(context, revision)
    require_unit(estate, unit_id)
    refuse_mistakes(estate)
    so_far = SoFar(Lookups(context), rehearse=rehearse, told=told, alone=True)
    return plan_unit(context, estate, unit_id, so_far)


@dataclass(frozen=True)
class SoFar:
    """What planning the other units of the same change has found.

    ``lookups``: a tag means the same image for all of them;
    ``done``: migrations that they will have deployed by then (a database is migrated once per change);
    ``promoted``: (service, environment) seen to be verified in the environment before; ``lookups``: what
    registries said; ``rehearse`` and ``told`` as for ``plan_change``; ``alone``: there are no other units.
    """

    lookups: Lookups
    done: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    promoted: set[tuple[str, str]] = field(default_factory=set)
    rehearse: bool = True
    told: Told = unheard
    alone: bool = False


def plan_unit(context: Context, estate: Estate, unit_id: UnitId, so_far: SoFar) -> PlannedChange:
    """The same in an estate that is open and has no mistakes; adds to ``so_far``. Raises NothingToChange."""
    rendered = estate.render(unit_id)
    release, values = with_secrets(context, rendered)
    environment = next(e for e in estate.environments if e.name == unit_id.environment)
    _check_release(release, environment)
    release = so_far.lookups.with_image(release, rendered.image)
    release, waits = held_back(context, release, so_far.done)
    keep_scripts(context.objects, rendered)
    _check_canary(context, release)
    base = base_of(context, release)
    with context.store.read() as unit:
        refuse_quarantined(unit, release)
        renewal = renewal_of(unit, base, context.vault, coming=release)
    refuse_lacking(renewal)
    _refuse_stale_commit(context, base, release)
    if (unit_id.service, unit_id.environment) not in so_far.promoted:
        _refuse_unpromoted(context, estate, release, so_far.lookups)
        so_far.promoted.add((unit_id.service, unit_id.environment))
    move = move_between(context, base, release, rendered.contents, done=so_far.done)
    if not move.changes:
        raise _nothing(base, waits)
    refuse_from_before(context, base, release, move.schemas)
    refuse_undo(context, release, move.schemas)
    if so_far.rehearse:
        before = [resource for resource, migrated in so_far.done.items() if migrated]
        among = Among(partial(declared_users, estate, unit_id.environment), so_far.alone)
        move = rehearse_first(context, move, so_far.told, before, among)
    plan = plan_deploy(move)
    with context.store.read() as unit:
        left = before_notes(data_left(unit, base), unit_id)
    locks = [
        *server_notes(context, release, move.schemas),
        *lock_notes(context, release, move.schemas),
    ]
    notes = (*waits, *plan.notes, *locks, *left, *_frozen_notes(context, unit_id))
    plan = with_cold_way_back(replace(plan, automatic=environment.automatic, notes=notes), renewal)
    context.store.put_plan(plan, release, base)
    for schema in move.schemas:
        migrated = [(m.name, m.digest) for m in schema.pending]
        so_far.done.setdefault(schema.database.resource, []).extend(migrated)
    return PlannedChange(plan, release, base, rendered.contents, values)


def _nothing(base: Release, waits: Sequence[Message]) -> NothingToChange:
    unit_id = str(base.unit)
    if waits:
        return StillWaiting(
            N_("nothing to change on {unit} now: {waits}"),
            todo=N_("Bring those that are behind to this commit first."),
            where=unit_id,
            unit=unit_id,
            waits=waits[0],
        )
    return NothingToChange(
        N_("nothing to change: {unit} is on exactly this already ({release})"),
        todo=N_("Commit what you want to change, or name another revision."),
        where=unit_id,
        unit=unit_id,
        release=short(base.digest),
    )


def _frozen_notes(context: Context, unit_id: UnitId) -> list[Message]:
    template = N_("{unit} is frozen ({reason}): a deploy is refused until it is lifted")
    with context.store.read() as unit:
        freezes = unit.incidents.freezes(unit_id)
    return [Message(template, {"unit": str(unit_id), "reason": str(f.reason)}) for f in freezes]


def open_estate(context: Context, revision: str) -> Estate:
    """Raises InvalidInput for a commit that does not exist, or for changes that are in none."""
    reader = context.need_estate()
    if revision == "HEAD" and (dirty := reader.dirty()):
        raise InvalidInput(
            N_("the estate has uncommitted changes: {paths}"),
            todo=N_("Commit them, or name the commit you mean with --commit."),
            paths=", ".join(dirty[:5]),
        )
    return reader.at(revision)


def declared_users(estate: Estate, environment: str, resource: str) -> Sequence[UnitId]:
    """Units that the estate says use it, whether or not we ever deployed them."""
    units = (unit for unit in estate.units() if unit.environment == environment)
    return [unit for unit in units if estate.render(unit).release.database(resource)]


def require_unit(estate: Estate, unit_id: UnitId) -> None:
    if unit_id in estate.units():
        return
    near = [str(u) for u in estate.units() if u.service == unit_id.service][:6]
    raise InvalidInput(
        N_("the estate has no unit {unit}"),
        todo=N_("It has: {units}"),
        unit=str(unit_id),
        units=", ".join(near) or ", ".join(sorted({u.service for u in estate.units()})),
    )


def refuse_mistakes(estate: Estate) -> None:
    errors = [p for p in estate.lint() if p.severity == "error"]
    if errors:
        first = errors[0]
        raise InvalidInput(
            N_("the estate has {count} errors; the first: {first}"),
            todo=N_("See them all with: lastgood lint"),
            where=f"{first.path}:{first.line}",
            count=len(errors),
            first=str(first.what),
        )


def _check_release(release: Release, environment: Environment) -> None:
    if environment.criteria_required and not release.criteria:
        raise InvalidInput(
            N_("{service} has no criteria, and {environment} requires them"),
            todo=N_(
                "Say in service.yaml under criteria what good means, for example the order success rate."
            ),
            service=release.unit.service,
            environment=environment.name,
        )
    if lacking := lacking_users(release):
        raise InvalidInput(
            N_("{service} is not declared as a user of {resources}"),
            todo=N_("Add it under users in the database.yaml."),
            service=release.unit.service,
            resources=", ".join(lacking),
        )


def _check_canary(context: Context, release: Release) -> None:
    if not release.canary:
        return
    splits_of(context.drivers, release)
    if not release.criteria:
        raise InvalidInput(
            N_("{service} has canary steps but no criteria: nothing could be said of a share"),
            todo=N_("Say in service.yaml under criteria what good means, or remove 'canary'."),
            service=release.unit.service,
        )


def base_of(context: Context, release: Release) -> Release:
    """What the unit is on now, which must be a state there is a way back to."""
    unit_id = release.unit
    with context.store.read() as unit:
        current = unit.releases.current(unit_id)
    if not current:
        current = take_baseline(context, release, "before the first change").release
    with context.store.read() as unit:
        base = unit.releases.get(current)
        points = unit.points.list(unit_id)
        holder = unit.locks.holder(f"unit:{unit_id}")
    if not holder and all(p.release != current for p in points):
        raise Conflict(
            N_("{unit} is on {release}, which was never verified: there would be no good state to return to"),
            todo=N_(
                'Accept it with lastgood accept {unit} --reason "…", or go back: lastgood rollback {unit}'
            ),
            where=str(unit_id),
            unit=str(unit_id),
            release=short(current),
        )
    return base


def _refuse_stale_commit(context: Context, base: Release, release: Release) -> None:
    if not base.commit or base.commit == release.commit:
        return
    if not context.need_estate().is_ancestor(base.commit, release.commit):
        raise Conflict(
            N_("commit {commit} does not contain {deployed}, which is deployed on {unit}"),
            todo=N_("Merge or rebase onto {deployed} first; to go back use lastgood rollback."),
            where=str(release.unit),
            commit=release.commit[:10],
            deployed=base.commit[:10],
            unit=str(release.unit),
        )


def _refuse_unpromoted(context: Context, estate: Estate, release: Release, lookups: Lookups) -> None:
    service, name = release.unit.service, release.unit.environment
    for before in environments_before(name, estate.environments):
        units = [u for u in estate.units() if u.service == service and u.environment == before.name]
        if not units:
            continue
        meant = (lookups.content_of(estate.render(u)) for u in units)
        with context.store.read() as unit:
            there = [u for u in unit.releases.units() if u.environment == before.name]
        if was_verified(meant, _verified(context, units), contractions(_verified(context, there))):
            return
        raise Conflict(
            N_("commit {commit} of {service} was not verified in {before} yet"),
            todo=N_("Deploy it there first and let its guard window end well: lastgood deploy {unit}"),
            where=str(release.unit),
            commit=release.commit[:10],
            service=service,
            before=before.name,
            unit=str(units[0]),
        )


def _measured_good(point: RestorePoint) -> bool:
    """Verified, or accepted early by a person when the criteria had passed so far."""
    passed = point.gate is not None and point.gate.verdict is Verdict.PASSED
    return point.kind is PointKind.VERIFIED or (point.kind is PointKind.ACCEPTED and passed)


def _verified(context: Context, units: Sequence[UnitId]) -> list[Release]:
    with context.store.read() as unit:
        points = [p for u in units for p in unit.points.list(u) if _measured_good(p)]
        aside = releases_aside(unit, points)
        return [unit.releases.get(p.release) for p in points if p.release not in aside]


def move_between(
    context: Context,
    base: Release,
    target: Release,
    contents: Mapping[str, bytes] | None = None,
    *,
    back: bool = False,
    done: Applied = MappingProxyType({}),
) -> Move:
    """Look at the databases and compute what a move has to do; ``back``: it may take migrations out.

    ``done`` counts as applied.
    """
    schemas = tuple(
        schema_move(d, schema_state(context, target, d, done.get(d.resource, ()))) for d in target.databases
    )
    classes: dict[str, tuple[Reversibility, str, str]] = {}
    for schema in schemas:
        pending = [m.name for m in schema.pending]
        classes.update(_classes(context, target, schema.database.resource, pending))
        refuse_forward_only(schema, classes)
        if back:
            classes.update(_classes(context, base, schema.database.resource, schema.extra))
    reverts = {s.database.resource: revertible(s, classes) for s in schemas} if back else {}
    known = contents or {}
    changes = difference(
        base,
        target,
        lambda digest: known[digest] if digest in known else context.objects.get(digest),
        [f"{s.database.resource} {m.name}" for s in schemas for m in s.pending],
        [f"{resource} {name}" for resource, names in reverts.items() for name in names],
    )

    def timings(kind: StepKind) -> Sequence[float]:
        with context.store.read() as unit:
            return unit.journal.seconds(target.unit, kind)

    drains = not back and drains_of(context.drivers, target) is not None
    captures = capture_obstacles(None if back else context.drivers, target, schemas, classes)
    rooms = copy_rooms(context.drivers, target, captures)
    with context.store.read() as unit:
        journeys = {} if back else journeys_between(unit, base, target, schemas)
        rehearsed = undone(unit, base, reverts)
        left = undone(unit, base, {s.database.resource: staying(s, classes) for s in schemas} if back else {})
    return Move(
        base, target, schemas, classes, timings, changes, reverts, drains, captures, journeys,
        undone=rehearsed, left=left, rooms=rooms,
    )  # fmt: skip


def schema_state(
    context: Context, release: Release, database: DatabaseTarget, done: Sequence[tuple[str, str]] = ()
) -> SchemaState:
    """What is deployed (``done`` besides), and which other units need it (a resource may be shared)."""
    applied = migrates_of(context.drivers, release, database).applied()
    later = tuple(one for one in done if one not in applied)
    with context.store.read() as unit:
        return SchemaState((*applied, *later), needed_by_others(unit, release.unit, database.resource))


def _classes(
    context: Context, release: Release, resource: str, names: Sequence[str]
) -> dict[str, tuple[Reversibility, str, str]]:
    """The classes of those of ``names`` whose scripts ``release`` has."""
    database = release.database(resource)
    migrations = [m for m in database.migrations if m.name in names] if database else []
    if database is None or not migrations:
        return {}
    driver = classifies_of(context.drivers, release, database)
    found = {}
    for migration in migrations:
        scripts = (migration.deploy, migration.verify, migration.revert)
        texts = [context.objects.get(name).decode() for name in scripts]
        seen = driver.classify(MigrationScript(migration.name, migration.digest, *texts))
        found[migration.name] = (seen.reversibility, seen.statement, seen.reason)
    return found
