"""What must stay: the releases that a unit may be asked to be on, and the images they run."""

from __future__ import annotations

from collections.abc import Iterator

from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork


def releases_in_use(unit: UnitOfWork, unit_id: UnitId) -> frozenset[str]:
    """Where the unit is, where open rollouts come from and go to, and what open incidents are about."""
    rollouts = [r for r in unit.rollouts.open() if r.unit == unit_id]
    rollouts += [unit.rollouts.get(i.rollout) for i in unit.incidents.list(unit_id) if i.closed_at is None]
    return frozenset({unit.releases.current(unit_id), *(d for r in rollouts for d in (r.base, r.target))})


def releases_kept(unit: UnitOfWork, unit_id: UnitId) -> frozenset[str]:
    """Those in use, and those of the restore points."""
    return releases_in_use(unit, unit_id) | {point.release for point in unit.points.list(unit_id)}


def images_kept(unit: UnitOfWork, unit_id: UnitId) -> frozenset[str]:
    """Manifests of the images of this unit's kept releases."""
    releases = (unit.releases.get(digest) for digest in releases_kept(unit, unit_id) if digest)
    return frozenset(release.image.manifest for release in releases if release.image)


def images_of_all(unit: UnitOfWork) -> frozenset[str]:
    """Of every unit: images are shared."""
    return frozenset(manifest for known in _units(unit) for manifest in images_kept(unit, known))


def _units(unit: UnitOfWork) -> Iterator[UnitId]:
    yield from dict.fromkeys((*unit.releases.units(), *(r.unit for r in unit.rollouts.open())))
