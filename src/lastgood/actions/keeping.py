"""What must stay: the releases that a unit may be asked to be on, and the images they run."""

from __future__ import annotations

from collections.abc import Iterator

from lastgood.domain.release import Release
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork


def releases_in_use(unit: UnitOfWork, unit_id: UnitId) -> frozenset[str]:
    """Where the unit is, where open rollouts come from and go to, and what open incidents are about."""
    rollouts = [r for r in unit.rollouts.open() if r.unit == unit_id]
    rollouts += [unit.rollouts.get(i.rollout) for i in unit.incidents.list(unit_id) if i.closed_at is None]
    found = {unit.releases.current(unit_id), *(d for r in rollouts for d in (r.base, r.target))}
    return frozenset(found - {""})


def releases_kept(unit: UnitOfWork, unit_id: UnitId) -> frozenset[str]:
    """Those in use, and those of the restore points."""
    return releases_in_use(unit, unit_id) | {point.release for point in unit.points.list(unit_id)}


def images_kept(unit: UnitOfWork, unit_id: UnitId) -> frozenset[str]:
    """Manifests of the images that this unit may be asked to run."""
    return frozenset(r.image.manifest for r in _releases(unit, unit_id) if r.image)


def images_archived(unit: UnitOfWork) -> frozenset[str]:
    """Manifests of those that have to be among our own files, for whichever unit: images are shared."""
    units = dict.fromkeys((*unit.releases.units(), *(rollout.unit for rollout in unit.rollouts.open())))
    releases = (release for known in units for release in _releases(unit, known))
    return frozenset(r.image.manifest for r in releases if r.image and r.keep.image == "archive")


def _releases(unit: UnitOfWork, unit_id: UnitId) -> Iterator[Release]:
    return (unit.releases.get(digest) for digest in releases_kept(unit, unit_id))
