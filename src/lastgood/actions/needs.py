"""Who else needs the shape of a shared database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lastgood.domain.capture import Capture
from lastgood.domain.errors import NotReversible
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork


def needed_by_others(unit: UnitOfWork, mine: UnitId, resource: str) -> Mapping[str, tuple[str, ...]]:
    """Migration name → the other units that have it in the release they are on, or are on their way to."""
    needed: dict[str, tuple[str, ...]] = {}
    for release in _releases_of_others(unit, mine):
        database = release.database(resource)
        for migration in database.migrations if database else ():
            known = needed.get(migration.name, ())
            needed[migration.name] = tuple(dict.fromkeys((*known, str(release.unit))))
    return needed


def releases_using(unit: UnitOfWork, resource: str) -> tuple[Release, ...]:
    """The releases on which the units are that use it, by unit."""
    current = (unit.releases.get(unit.releases.current(known)) for known in sorted(unit.releases.units()))
    return tuple(release for release in current if release.database(resource))


def users_of(unit: UnitOfWork, resource: str) -> tuple[str, ...]:
    """Units whose current release uses it."""
    return tuple(str(release.unit) for release in releases_using(unit, resource))


def other_users(unit: UnitOfWork, mine: UnitId, resource: str) -> tuple[str, ...]:
    """The same without ``mine``."""
    return tuple(user for user in users_of(unit, resource) if user != str(mine))


def refuse_shape(unit: UnitOfWork, capture: Capture) -> None:
    """Raises NotReversible naming the units that could not run on the database as it was at the cut: those
    that are on a release, or on their way to or from one, that needs what came later.
    """
    lacking: dict[str, tuple[str, ...]] = {}
    digests = [unit.releases.current(known) for known in unit.releases.units()]
    digests += [digest for rollout in unit.rollouts.open() for digest in (rollout.base, rollout.target)]
    for release in (unit.releases.get(digest) for digest in dict.fromkeys(digests) if digest):
        database = release.database(capture.resource)
        names = capture.lacks(database) if database else ()
        if names:
            lacking[str(release.unit)] = names
    if lacking:
        first = next(iter(lacking))
        raise NotReversible(
            N_("{resource} as it was at {at} lacks what {units} need: {names}"),
            todo=N_("Take them back first: lastgood rollback {first}"),
            where=capture.resource,
            resource=capture.resource,
            at=f"{capture.opened_at:%Y-%m-%d %H:%M:%S}",
            units=", ".join(lacking),
            names=", ".join(dict.fromkeys(name for names in lacking.values() for name in names)),
            first=first,
        )


def _releases_of_others(unit: UnitOfWork, mine: UnitId) -> Iterator[Release]:
    for other in unit.releases.units():
        if other != mine:
            yield unit.releases.get(unit.releases.current(other))
    for rollout in unit.rollouts.open():
        if rollout.unit != mine:
            yield unit.releases.get(rollout.target)
