"""Who is still on code from before a migration that takes something away, and who is on the way there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lastgood.actions.abilities import migrates_of
from lastgood.actions.context import Context
from lastgood.actions.needs import releases_using
from lastgood.domain.errors import Conflict
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan, StepKind
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.planning.contracting import hold_back
from lastgood.planning.schema import SchemaMove
from lastgood.ports.persistence import UnitOfWork

Done = Mapping[str, Sequence[tuple[str, str]]]


def held_back(context: Context, release: Release, done: Done) -> tuple[Release, list[Message]]:
    """``release`` without the migrations that come after the last wave while some unit is behind, with what
    the reader of the plan must know. ``done`` counts as applied. Raises InvalidInput.
    """
    databases, notes = [], []
    for database in release.databases:
        if any(m.contracts for m in database.migrations):
            applied = migrates_of(context.drivers, release, database).applied()
            names = [name for name, _ in (*applied, *done.get(database.resource, ()))]
            with context.store.read() as unit:
                users = concerned(unit, database.resource)
            database, note = hold_back(database, names, users)
            notes += [note] if note is not None else []
        databases.append(database)
    return replace(release, databases=tuple(databases)), notes


def concerned(unit: UnitOfWork, resource: str) -> tuple[Release, ...]:
    """The releases that use it, and those that open rollouts come from or go to: they may go back by
    themselves.
    """
    found = {release.digest: release for release in releases_using(unit, resource)}
    for rollout in unit.rollouts.open():
        for digest in (rollout.base, rollout.target):
            release = unit.releases.get(digest) if digest else None
            if release is not None and release.database(resource):
                found.setdefault(digest, release)
    return tuple(found.values())


def refuse_behind(unit: UnitOfWork, plan: Plan, release: Release) -> None:
    """Raises Conflict for a change that takes away what somebody needs who is, or is on the way, behind."""
    for database, name in _taken(plan, release):
        for other in concerned(unit, database.resource):
            target = other.database(database.resource)
            if target is not None and not target.bears(name):
                raise Conflict(
                    N_(
                        "{unit} is on code from before {name}, or may go back to it; {name} takes away "
                        "what it needs"
                    ),
                    todo=N_("Plan again: {name} then waits until all are verified good."),
                    where=database.resource,
                    unit=str(other.unit),
                    name=name,
                )


def refuse_from_before(
    context: Context, base: Release, release: Release, schemas: Sequence[SchemaMove]
) -> None:
    """Raises Conflict for code from before what was taken away already: a unit that is new may come from any
    commit. Where somebody who had it is without by now, its scripts left the estate, and that tells nothing.
    """
    for schema in schemas:
        database, resource = schema.database, schema.database.resource
        with context.store.read() as unit:
            users = [one for one in concerned(unit, resource) if one.unit != release.unit]
        theirs = [one.database(resource) or database for one in users]
        known = {name for one in theirs for name in one.contracting if all(t.bears(name) for t in theirs)}
        mine = base.database(resource) or database
        there = (*schema.extra, *schema.kept)
        taken = [n for n in there if n in known and not database.bears(n) and not mine.bears(n)]
        if taken:
            raise Conflict(
                N_("{names} took from {resource} what the code of {release} needs, and stays there"),
                todo=N_("Deploy a commit that has {names}."),
                where=resource,
                names=", ".join(taken),
                resource=resource,
                release=str(release.unit),
            )


def refuse_to_fall_behind(unit: UnitOfWork, release: Release) -> None:
    """Raises Conflict for a way back to code whose shape an open change is just taking away."""
    for rollout in unit.rollouts.open():
        for database, name in _taken(rollout.plan, unit.releases.get(rollout.target)):
            mine = release.database(database.resource)
            if rollout.unit != release.unit and mine is not None and not mine.bears(name):
                raise Conflict(
                    N_("{rollout} brings {name} to {resource}, and the code of {unit} can't do with it"),
                    todo=N_("Take that back first: lastgood rollback {first}. Then try again."),
                    where=database.resource,
                    rollout=rollout.id,
                    name=name,
                    resource=database.resource,
                    unit=str(release.unit),
                    first=str(rollout.unit),
                )


def _taken(plan: Plan, release: Release) -> list[tuple[DatabaseTarget, str]]:
    """Contracting migrations that the plan deploys."""
    found = []
    for step in plan.steps:
        database = release.database(str(step.params.get("resource", "")))
        name = str(step.params.get("migration", ""))
        if step.kind is StepKind.MIGRATE and database is not None and name in database.contracting:
            found.append((database, name))
    return found
