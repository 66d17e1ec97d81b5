"""Whether a release may enter an environment: the same content was verified in the one before (R1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lastgood.domain.digest import digest
from lastgood.domain.release import Release
from lastgood.domain.unit import Environment


def promotion_key(release: Release) -> str:
    """What must be equal across environments: service, commit, artifact and migrations.

    Values differ between sites by nature and are left out.
    """
    migrations = [(d.resource.partition("@")[0], [m.digest for m in d.migrations]) for d in release.databases]
    artifact = release.artifact.digest if release.artifact else ""
    return digest((release.unit.service, release.commit, artifact, sorted(migrations)))


def environment_before(name: str, environments: Sequence[Environment]) -> Environment | None:
    ordered = sorted(environments, key=lambda e: e.position)
    position = next((i for i, e in enumerate(ordered) if e.name == name), 0)
    return ordered[position - 1] if position > 0 else None


def was_verified(release: Release, before: Environment, verified: Iterable[Release]) -> bool:
    """``verified``: the releases of this service's verified restore points."""
    key = promotion_key(release)
    return any(r.unit.environment == before.name and promotion_key(r) == key for r in verified)
