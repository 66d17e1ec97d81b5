"""Restore bundles as they lie on disk, and which of them hold a version of a secret."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.domain.release import SecretVersion
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork

KNOWN = 1000
"""Audit records of a unit that are looked through for where bundles were written."""


@dataclass(frozen=True)
class FoundBundle:
    """``newest``: the one that the unit's name leads to in its directory."""

    unit: UnitId
    directory: Path
    secrets: frozenset[SecretVersion]
    newest: bool

    @property
    def release(self) -> str:
        """The first digits of its release's digest."""
        return self.directory.name.rpartition("-")[2]


def bundles_holding(
    unit: UnitOfWork, unit_id: UnitId, secrets: Collection[SecretVersion]
) -> tuple[FoundBundle, ...]:
    """Those of a unit that hold one of ``secrets``, wherever they were written from here and can be seen."""
    if not secrets:
        return ()
    wanted = frozenset(secrets)
    return tuple(one for one in _bundles(unit, unit_id) if one.secrets & wanted)


def _bundles(unit: UnitOfWork, unit_id: UnitId) -> Iterator[FoundBundle]:
    for directory in sorted(_directories(unit, unit_id)):
        for place in sorted(_places(directory, unit_id)):
            known = _described(place)
            if known is None or known["unit"] != _plain(unit_id):
                continue
            held = frozenset(
                SecretVersion(s["name"], s["version"])
                for s in known["secrets"]
                if (place / "sealed" / f"{s['name']}.age").exists()
            )
            link = directory / unit_id.slug
            newest = link.is_symlink() and str(link.readlink()) == place.name
            yield FoundBundle(unit_id, place, held, newest)


def _directories(unit: UnitOfWork, unit_id: UnitId) -> set[Path]:
    """Where bundles of the unit are, or were, written to."""
    releases = {point.release for point in unit.points.list(unit_id, pruned=True)}
    releases.add(unit.releases.current(unit_id))
    kept = {unit.releases.get(digest).keep.bundles for digest in releases if digest}
    by_hand = {
        str(Path(str(record.data["directory"])).parent)
        for record in unit.audit.list(str(unit_id), KNOWN)
        if record.verb == "bundle" and "directory" in record.data
    }
    return {Path(directory) for directory in kept | by_hand if directory}


def _places(directory: Path, unit_id: UnitId) -> Iterator[Path]:
    try:
        yield from (place for place in directory.glob(f"{unit_id.slug}-*") if place.is_dir())
    except OSError:
        return


def _described(place: Path) -> dict[str, Any] | None:
    """Its ``release.json``; None when that can't be read."""
    try:
        return dict(json.loads((place / "release.json").read_bytes()))
    except (OSError, ValueError):
        return None


def _plain(unit_id: UnitId) -> dict[str, str]:
    return {"service": unit_id.service, "environment": unit_id.environment, "site": unit_id.site}
