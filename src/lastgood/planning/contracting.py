"""What takes away the shape that older code needs comes after the last wave, and goes back before the first.

A release whose code does with and without such a migration says so (``held``). So a unit that is behind is
told from one that is ready, whichever change brought it there, and whatever died in between.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from lastgood.domain.errors import InvalidInput, NotReversible
from lastgood.domain.message import N_, Message
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.planning.schema import SchemaMove


def hold_back(
    database: DatabaseTarget, applied: Collection[str], users: Sequence[Release]
) -> tuple[DatabaseTarget, Message | None]:
    """``database`` without the migrations that have to wait for ``users`` (the releases that use it now), and
    the sentence that says so. Raises InvalidInput where one that can't wait lies above.
    """
    pending = [m for m in database.migrations if m.name not in applied]
    first = next((m for m in pending if m.contracts), None)
    if first is None:
        return database, None
    behind = [str(one.unit) for one in users if not _bears(one, database.resource, first.name)]
    if not behind:
        return database, None
    waiting = pending[pending.index(first) :]
    other = next((m for m in waiting if not m.contracts), None)
    if other is not None:
        raise InvalidInput(
            N_("{other} lies above {name}, which waits until no unit is on code from before it: {units}"),
            todo=N_("Give {name} the higher number, or bring {other} in a later change."),
            where=database.resource,
            other=other.name,
            name=first.name,
            units=", ".join(behind),
        )
    names = tuple(m.name for m in waiting)
    left = tuple(m for m in database.migrations if m.name not in names)
    said = N_(
        "{names} of {resource} comes after the last wave: {units} is on code from before it. Once all are "
        "verified good, the same command again runs it"
    )
    words = {"names": ", ".join(names), "resource": database.resource, "units": ", ".join(behind)}
    return replace(database, migrations=left, held=names), Message(said, words)


def taken_from(base: Release, target: Release, schema: SchemaMove) -> tuple[str, ...]:
    """Migrations in the database that took away what ``target``'s code needs, newest first."""
    resource = schema.database.resource
    known = frozenset[str]()
    for release in (base, target):
        database = release.database(resource)
        known |= database.contracting if database else frozenset()
    there = (*schema.extra, *schema.kept)
    return tuple(n for n in there if n in known and not _bears(target, resource, n))


def refuse_contracted(
    base: Release, target: Release, schemas: Sequence[SchemaMove], reverts: Mapping[str, Sequence[str]]
) -> None:
    """Raises NotReversible where code from before a migration would meet a database from after it, because
    the migration stays: another unit needs it, or no script takes it back.
    """
    for schema in schemas:
        resource = schema.database.resource
        stays = [n for n in taken_from(base, target, schema) if n not in reverts.get(resource, ())]
        if not stays:
            continue
        holders = schema.kept.get(stays[0], ())
        back = N_("Take it back first: lastgood rollback {first}. Then try again.")
        by_hand = N_(
            "Nothing takes it back by itself: go to a restore point whose code does with it (--to POINT), or "
            "restore the database first: lastgood restore {first}."
        )
        raise NotReversible(
            N_("{names} took from {resource} what the code of {release} needs, and stays there"),
            todo=back if holders else by_hand,
            where=resource,
            names=", ".join(stays),
            resource=resource,
            release=str(target.unit),
            first=holders[0] if holders else str(target.unit),
        )


def _bears(release: Release, resource: str, migration: str) -> bool:
    database = release.database(resource)
    return database is None or database.bears(migration)
