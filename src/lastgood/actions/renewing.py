"""Revoked secrets never return: asked whenever something is about to come up, with what the store knows."""

from __future__ import annotations

from collections.abc import Mapping

from lastgood.actions.secrets import login_names
from lastgood.domain.criterion import Verdict
from lastgood.domain.errors import NotReversible, SecretRevoked
from lastgood.domain.message import N_
from lastgood.domain.plan import PlanKind
from lastgood.domain.release import Release
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.rollout import Rollout
from lastgood.domain.secret import Revocation, Sealing, shown
from lastgood.planning.promotion import content_key
from lastgood.planning.renewal import Renewal, renew, words_of
from lastgood.ports.clock import Clock
from lastgood.ports.content import Vault
from lastgood.ports.persistence import Store, UnitOfWork

LACKING = N_("no valid version of secret {name} is kept here: {old} was revoked at {at} by {by}")
MEND = N_(
    "Give its new value, which is read from standard input: lastgood secrets renew {name}; then try again."
)


def renewal_of(
    unit: UnitOfWork,
    release: Release,
    vault: Vault,
    *,
    coming: Release | None = None,
    logins: bool = False,
) -> Renewal:
    """``release`` as it may come back now. ``coming``: a release that its unit is about to be given, whose
    versions are the newest then; ``logins``: those of a registry count, too.
    """
    revocations = unit.secrets.revocations()
    if not revocations:
        return Renewal(release, release)
    sealings = unit.secrets.sealings(release.unit)
    current = coming
    if coming is not None:
        now = revocations[0].at
        sealings = (*(Sealing(s, release.unit, now, "") for s in coming.secrets), *sealings)
    elif known := unit.releases.current(release.unit):
        current = unit.releases.get(known)
    given = set(coming.secrets) if coming is not None else set()
    return renew(
        release, sealings, revocations, current=current,
        # What is coming is sealed when it is accepted.
        kept=lambda secret: secret in given or vault.has(secret),
        spared=() if logins else login_names(release),
    )  # fmt: skip


def refuse_lacking(renewal: Renewal) -> None:
    """Raises NotReversible when there is no valid version of a revoked secret, saying what to do."""
    for one in renewal.lacking:
        raise NotReversible(LACKING, todo=MEND, where=str(renewal.old.unit), **words_of(one))


def refuse_revoked(unit: UnitOfWork, release: Release) -> None:
    """Raises SecretRevoked when ``release`` would run with a revoked version."""
    for revocation in revoked_in(unit, release):
        raise SecretRevoked(
            N_("version {version} of secret {name} was revoked at {at} by {by}: {reason}"),
            todo=N_("Plan it again: the newest valid version is used then."),
            where=str(release.unit),
            name=revocation.secret.name,
            version=shown(revocation.secret.version),
            at=f"{revocation.at:%Y-%m-%d %H:%M:%S}",
            by=revocation.by,
            reason=revocation.reason,
        )


def revoked_in(unit: UnitOfWork, release: Release) -> tuple[Revocation, ...]:
    """What of the secrets that a release runs with is revoked."""
    spared, used = login_names(release), set(release.secrets)
    return tuple(r for r in unit.secrets.revocations() if r.secret in used and r.secret.name not in spared)


def with_valid_secrets(store: Store, vault: Vault, release: Release) -> Release:
    """For whoever logs in somewhere with a secret of ``release``: with versions that may be used. Never to be
    started or named by: its digest may be another. Raises NotReversible when one has no valid version.
    """
    with store.read() as unit:
        renewal = renewal_of(unit, release, vault, logins=True)
    refuse_lacking(renewal)
    return renewal.release


def give(unit: UnitOfWork, release: Release, by: str, clock: Clock) -> None:
    """The versions of an accepted deploy are the newest of its unit."""
    for secret in release.secrets:
        unit.secrets.give(Sealing(secret, release.unit, clock.now(), by))


def replaced_names(renewal: Renewal) -> Mapping[str, str]:
    """For the audit: name → old and new version."""
    return {one.name: f"{one.old} -> {one.new}" for one in renewal.replaced}


def keep_renewed(unit: UnitOfWork, rollout: Rollout, clock: Clock) -> None:
    """Where a way back came up with newer secrets, that is a state to go back to as well: the point that it
    was made from, renewed. Verified only if it was measured good itself.
    """
    points = unit.points.list(rollout.unit)
    if any(point.release == rollout.target for point in points):
        return
    target = unit.releases.get(rollout.target)
    key = content_key(target)
    origin = next((p for p in points if content_key(unit.releases.get(p.release)) == key), None)
    if origin is None:
        return
    passed = rollout.gate is not None and rollout.gate.verdict is Verdict.PASSED
    kind = PointKind.VERIFIED if passed and rollout.kind is PlanKind.ROLLBACK else PointKind.RENEWED
    unit.points.add(
        RestorePoint(
            f"rp-{rollout.id}", rollout.unit, rollout.target,
            PointKind.BASELINE if origin.kind is PointKind.BASELINE else kind, clock.now(), rollout.id,
            rollout.gate, renews=origin.renews or origin.id,
        )
    )  # fmt: skip
