"""Rehearsals before a plan: each database with something to migrate, on a copy; what they showed is kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from lastgood.actions.abilities import migrates_of
from lastgood.actions.context import Context
from lastgood.actions.ends import left_standing
from lastgood.actions.needs import other_users, releases_using, users_of
from lastgood.domain.digest import digest
from lastgood.domain.errors import Cause, Conflict, DriverError
from lastgood.domain.message import N_, Message
from lastgood.domain.rehearsal import Rehearsed
from lastgood.domain.release import DatabaseTarget, Migration, Release
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.rollout import Mark
from lastgood.domain.unit import UnitId
from lastgood.planning.fence import Others, refuse_unfenceable
from lastgood.planning.moves import Move
from lastgood.planning.rehearsing import Written, judge, refuse_different, written
from lastgood.planning.schema import SchemaMove
from lastgood.planning.users import stoppable
from lastgood.ports.content import Objects
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.persistence import UnitOfWork
from lastgood.ports.rehearsing import Journey, Journeys, RehearsesWrites

Told = Callable[[Message], None]
"""Hears what begins."""
FRESH_FOR = timedelta(days=1)
"""An older snapshot has not the rows that the migration will meet."""
KNOWN_FOR = timedelta(days=7)
"""Rows come that nothing was tried on: after that it is rehearsed again."""


def unheard(step: Message) -> None:
    """Where nobody watches."""


def journeys_between(
    unit: UnitOfWork, base: Release, target: Release, schemas: Sequence[SchemaMove]
) -> Mapping[str, Written]:
    """The write journeys of those that use each database now, and of ``target``."""
    pending = [schema.database for schema in schemas if schema.pending]
    return {one.resource: journeys_of(unit, base, target, one) for one in pending}


def journeys_of(unit: UnitOfWork, base: Release, target: Release, database: DatabaseTarget) -> Written:
    """The same of one database of ``target``, which goes there from ``base``."""
    others = (UnitId.parse(name) for name in other_users(unit, target.unit, database.resource))
    users = [unit.releases.get(unit.releases.current(other)) for other in others]
    if base.database(database.resource) or base.origin == "baseline":
        users.append(base)
    return written(database, target, users)


@dataclass(frozen=True)
class Among:
    """Who else a fence would concern. ``declared``: the units that use a resource, as the estate says;
    ``alone``: the change moves one unit only.
    """

    declared: Callable[[str], Sequence[UnitId]] = lambda resource: ()
    alone: bool = True


def rehearse_first(
    context: Context, move: Move, told: Told = unheard, but: Collection[str] = (), among: Among = Among()
) -> Move:
    """``move``, with its databases rehearsed; not those of ``but``, which others migrate before.

    What was rehearsed in exactly this way before is not rehearsed again. Raises what a rehearsal raises,
    NotReversible where there would be no way back, Conflict when somebody changed the schema meanwhile.
    """
    rehearsed = {}
    for schema in move.schemas:
        resource = schema.database.resource
        if schema.pending and resource not in but:
            one = _rehearsed(context, move, schema, told)
            if one is not None:
                rehearsed[resource] = one
    breaking = [s for s in move.schemas if s.database.resource in rehearsed
                and not rehearsed[s.database.resource].old.runs]  # fmt: skip
    others = {s.database.resource: _others(context, move, s, told, among) for s in breaking}
    refuse_unfenceable(move.base, move.schemas, move.classes, rehearsed, others)
    stopped = {one.unit: one for found in others.values() for one in found.releases}
    return replace(move, rehearsed=rehearsed, others=tuple(stopped[name] for name in sorted(stopped)))


def _others(context: Context, move: Move, schema: SchemaMove, told: Told, among: Among) -> Others:
    """Those on a database that needs a fence, and how their code alone does on the new schema: it has to run
    there once the schema has moved.
    """
    resource, mine = schema.database.resource, move.target.unit
    with context.store.read() as unit:
        releases = tuple(one for one in releases_using(unit, resource) if one.unit != mine)
    known = {mine, *(one.unit for one in releases)}
    unknown = tuple(one for one in among.declared(resource) if one not in known)
    shown = None
    if releases and among.alone and not unknown and all(stoppable(one) for one in releases):
        theirs = replace(
            move, journeys={**move.journeys, resource: written(schema.database, move.target, releases)}
        )
        shown = _rehearsed(context, theirs, schema, told)
    return Others(releases, unknown, shown, among.alone)


def with_others(context: Context, move: Move) -> tuple[Move, tuple[Message, ...]]:
    """A way back behind a fence, with those that stop beside it, and what is to be known of those that can't:
    it is never refused for them.
    """
    breaking = [
        resource
        for resource, ones in move.undone.items()
        if move.reverts.get(resource) and any(not one.old.runs for one in ones)
    ]
    breaking += [resource for resource in move.takes_back if resource not in breaking]
    with context.store.read() as unit:
        found = {one.unit: one for name in breaking for one in releases_using(unit, name)}
        # The schema may be where it belongs already, and they stand still since.
        for name in left_standing(unit, move.target.unit):
            found[name] = unit.releases.get(unit.releases.current(name))
    others = [found[name] for name in sorted(found) if name != move.target.unit]
    left = [str(one.unit) for one in others if not stoppable(one)]
    template = N_("{units} use the database too and go on while its schema moves: we did not start them")
    notes = (Message(template, {"units": ", ".join(left)}),) if left else ()
    return replace(move, others=tuple(one for one in others if stoppable(one))), notes


def undone(
    unit: UnitOfWork, base: Release, names: Mapping[str, Sequence[str]]
) -> Mapping[str, tuple[Rehearsed, ...]]:
    """What was rehearsed of ``names``, the migrations of each database that a way back from ``base`` passes.

    Of each the rehearsal of the rollout that deployed it, for a script may have been edited before; where
    that is not known any more, the newest that had one of its name.
    """
    found = {}
    for resource, passed in names.items():
        ones = (_deployed_by(unit, base, resource, name) for name in passed)
        found[resource] = tuple({one.key: one for one in ones if one is not None}.values())
    return found


def _deployed_by(unit: UnitOfWork, base: Release, resource: str, name: str) -> Rehearsed | None:
    users = {str(base.unit), *users_of(unit, resource)}
    rollouts = [rollout for user in users for rollout in unit.rollouts.list(UnitId.parse(user))]
    for rollout in sorted(rollouts, key=lambda one: one.created_at, reverse=True):
        last = unit.journal.last(rollout.id, f"migrate:{resource}:{name}")
        if last is not None and last.mark is Mark.DONE:
            known = [
                one for one in rollout.plan.rehearsed if one.resource == resource and name in one.pending
            ]
            if known:
                return known[0]
            break
    return next((one for one in unit.rehearsals.list(resource) if name in one.pending), None)


@dataclass(frozen=True)
class Copied:
    """A driver that makes copies, and what is to be tried on one."""

    driver: RehearsesWrites
    resource: str
    journeys: Written
    pending: Sequence[MigrationScript]
    standing: Sequence[MigrationScript]

    def rehearse(self, objects: Objects, source: Snapshot | None) -> Rehearsal:
        return self.driver.rehearse_writes(
            source, self.pending, self.standing, texts_of(objects, self.journeys)
        )


def texts_of(objects: Objects, journeys: Written) -> Journeys:
    new = Journey(journeys.whose, objects.get(journeys.new).decode()) if journeys.new else None
    return Journeys(
        new, tuple(Journey(whose, objects.get(script).decode()) for whose, script in journeys.old)
    )


def _rehearsed(context: Context, move: Move, schema: SchemaMove, told: Told) -> Rehearsed | None:
    """None where the driver makes no copies: then the rollout rehearses."""
    resource = schema.database.resource
    driver = migrates_of(context.drivers, move.target, schema.database)
    if not isinstance(driver, RehearsesWrites):
        return None
    live, sample = driver.fingerprint(), driver.sample_rows()
    journeys = move.journeys[resource]
    contents = ([(m.name, m.digest) for m in part] for part in (schema.pending, schema.standing))
    scripts = (journeys.new, [script for _, script in journeys.old], journeys.complete)
    key = digest([resource, live, sample, *contents, *scripts])
    with context.store.read() as unit:
        known = unit.rehearsals.get(key)
        kept = () if sample else unit.points.snapshots(resource)[:1]
    now = context.clock.now()
    if known is not None and now - known.at <= KNOWN_FOR:
        return known
    told(Message(N_("rehearsing the migration of {resource} on a copy"), {"resource": resource}))
    fresh = (s for s in kept if s.fingerprint == live and now - s.created_at <= FRESH_FOR)
    copied = Copied(
        driver, resource, journeys, _scripts(context, schema.pending), _scripts(context, schema.standing)
    )
    began = context.clock.monotonic()
    seen, source = _from(context, copied, next(fresh, None))
    seconds = context.clock.monotonic() - began
    if driver.fingerprint() != live:
        raise Conflict(
            N_("the schema of {resource} changed while its migration was rehearsed"),
            todo=N_("Plan again."),
            where=resource,
            resource=resource,
        )
    refuse_different(seen, resource)
    old, reason = judge(seen, journeys)
    names = tuple(m.name for m in schema.pending)
    made = Rehearsed(
        key, resource, live, names, old, reason, sample, context.clock.now(), seen.deploy_seconds,
        seen.revert_seconds, seconds, source.created_at if source else None,
    )  # fmt: skip
    with context.store.write() as unit:
        unit.rehearsals.put(made)
    return made


def _from(context: Context, copied: Copied, source: Snapshot | None) -> tuple[Rehearsal, Snapshot | None]:
    """And what was copied, None for the live database. A snapshot whose files are gone, or which the key does
    not open any more, is no reason not to rehearse.
    """
    if source is not None:
        try:
            return copied.rehearse(context.objects, source), source
        except DriverError as error:
            if error.cause is not Cause.WRONG_PATH:
                raise
    return copied.rehearse(context.objects, None), None


def _scripts(context: Context, migrations: Sequence[Migration]) -> list[MigrationScript]:
    found = []
    for migration in migrations:
        scripts = (migration.deploy, migration.verify, migration.revert)
        texts = [context.objects.get(name).decode() for name in scripts]
        found.append(MigrationScript(migration.name, migration.digest, *texts))
    return found
