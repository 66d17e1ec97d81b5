"""Who else needs the shape of a shared database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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


def _releases_of_others(unit: UnitOfWork, mine: UnitId) -> Iterator[Release]:
    for other in unit.releases.units():
        if other != mine:
            yield unit.releases.get(unit.releases.current(other))
    for rollout in unit.rollouts.open():
        if rollout.unit != mine:
            yield unit.releases.get(rollout.target)
