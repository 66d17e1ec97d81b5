"""secrets list: which versions are known here, who uses them, and what was revoked. No value is opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lastgood.actions.bundling.find import bundles_holding
from lastgood.actions.context import Context
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.domain.secret import Sealing, VersionStatus, shown
from lastgood.domain.unit import UnitId
from lastgood.planning.renewal import newest_valid
from lastgood.ports.persistence import UnitOfWork


def secret_versions(context: Context, name: str = "") -> Sequence[VersionStatus]:
    """By name, the newest version first; ``name``: only of this secret."""
    with context.store.read() as unit:
        sealings = unit.secrets.sealings(name=name)
        found = dict.fromkeys(s.secret for s in sealings)
        seen = [_status(context, unit, secret, sealings) for secret in found]
    return sorted(seen, key=lambda status: status.secret.name)


def _status(
    context: Context, unit: UnitOfWork, secret: SecretVersion, sealings: Sequence[Sealing]
) -> VersionStatus:
    mine = [s for s in sealings if s.secret == secret]
    units = sorted({s.unit for s in mine})
    points = [
        point.id
        for one in units
        for point in unit.points.list(one)
        if secret in unit.releases.get(point.release).secrets
    ]
    newest = newest_by_unit(context, unit, secret.name)
    return VersionStatus(
        secret, mine[-1].at, running_with(unit, secret), tuple(points),
        tuple(sorted(u for u, version in newest.items() if version == secret)),
        tuple(str(b.directory) for one in units for b in bundles_holding(unit, one, [secret])),
        next((r for r in unit.secrets.revocations() if r.secret == secret), None),
    )  # fmt: skip


def running_with(unit: UnitOfWork, secret: SecretVersion) -> tuple[UnitId, ...]:
    """Units whose current release has this version."""
    current = ((one, unit.releases.get(unit.releases.current(one))) for one in unit.releases.units())
    return tuple(sorted(one for one, release in current if secret in release.secrets))


def newest_by_unit(context: Context, unit: UnitOfWork, name: str) -> dict[UnitId, SecretVersion | None]:
    """What each unit that was ever given this secret would go back with; None where nothing is valid."""
    revoked = {r.secret for r in unit.secrets.revocations()}
    found = {}
    for one in dict.fromkeys(s.unit for s in unit.secrets.sealings(name=name)):
        current = unit.releases.current(one)
        release = unit.releases.get(current) if current else None
        sealings = unit.secrets.sealings(one, name)
        found[one] = newest_valid(name, sealings, revoked, release, context.vault.has)
    return found


def refuse_unknown(name: str, sealings: Sequence[Sealing]) -> None:
    """Raises InvalidInput for a secret that no unit was ever given."""
    if not sealings:
        raise InvalidInput(
            N_("no unit was ever given a secret {name}"),
            todo=N_("See which are known: lastgood secrets list"),
            name=name,
        )


def by_version(newest: Iterable[tuple[UnitId, SecretVersion]]) -> str:
    """``12ab34cd: shop@prod/us, shop@prod/de; 99ff00aa: …``"""
    units: dict[str, list[str]] = {}
    for one, secret in newest:
        units.setdefault(shown(secret.version), []).append(str(one))
    return "; ".join(f"{version}: {', '.join(names)}" for version, names in units.items())
