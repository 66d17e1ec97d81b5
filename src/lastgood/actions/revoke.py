"""secrets revoke: from now on nothing goes back to a version of a secret, on no unit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from lastgood.actions.bundling.find import bundles_holding
from lastgood.actions.bundling.rewrite import rewrite_bundles
from lastgood.actions.context import Context
from lastgood.actions.versions import by_version, newest_by_unit, refuse_unknown, running_with
from lastgood.domain.audit import Phase
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.domain.secret import Revocation, Revoked, Sealing, shown
from lastgood.ports.persistence import UnitOfWork


def revoke(context: Context, name: str, version: str = "", *, reason: str) -> Revoked:
    """``version``: its first digits; empty: all versions but the newest valid one, and of those revoked
    before the ones that a bundle still holds.

    What runs goes on running; ``Revoked`` names it. Restore bundles that hold it are written anew; asked
    again, those that were left are tried again. Raises InvalidInput when it is not clear which versions are
    meant, or without a reason.
    """
    if not reason.strip():
        raise InvalidInput(N_("revoking needs a reason"), todo=N_('Say why: --reason "…"'), where=name)
    with context.store.write() as unit:
        secrets = _meant(context, unit, name, version)
        known = {r.secret for r in unit.secrets.revocations()}
        now, by = context.clock.now(), context.actor.name
        for secret in secrets:
            unit.secrets.revoke(Revocation(secret, now, by, reason))
        data = {"versions": [secret.version for secret in secrets]}
        context.audit(unit, "secrets revoke", name, Phase.INTENT, reason, data)
        revoked = _revoked(context, unit, name, secrets)
    written, left = rewrite_bundles(context, {s.unit for s in _sealings(context, name)}, secrets)
    revoked = replace(
        revoked, known=tuple(s.version for s in secrets if s in known), bundles=written, bundles_left=left
    )
    data |= {"bundles": list(written), "bundles_left": [one.directory for one in left]}
    with context.store.write() as unit:
        context.audit(unit, "secrets revoke", name, Phase.OUTCOME, reason, data)
    return revoked


def _revoked(context: Context, unit: UnitOfWork, name: str, secrets: Sequence[SecretVersion]) -> Revoked:
    running = {one for secret in secrets for one in running_with(unit, secret)}
    without = {one for one, version in newest_by_unit(context, unit, name).items() if version is None}
    found = {r.secret: r for r in unit.secrets.revocations()}
    return Revoked(
        name, tuple(found[secret] for secret in secrets), running=tuple(sorted(running)),
        without=tuple(sorted(without)),
    )  # fmt: skip


def _sealings(context: Context, name: str) -> Sequence[Sealing]:
    with context.store.read() as unit:
        return unit.secrets.sealings(name=name)


def _meant(context: Context, unit: UnitOfWork, name: str, version: str) -> list[SecretVersion]:
    sealings = unit.secrets.sealings(name=name)
    refuse_unknown(name, sealings)
    versions = list(dict.fromkeys(s.secret for s in sealings))
    return [_named(versions, version)] if version else _all_but_newest(context, unit, name, versions)


def _named(versions: Sequence[SecretVersion], version: str) -> SecretVersion:
    found = [secret for secret in versions if secret.version.startswith(version.lower())]
    if len(found) == 1:
        return found[0]
    raise InvalidInput(
        N_("{version} may be any of several versions of {name}: {candidates}") if found
        else N_("secret {name} has no version {version} here; it has: {candidates}"),
        todo=N_("Give more digits of it; see lastgood secrets list."),
        name=versions[0].name,
        version=version,
        candidates=", ".join(s.version for s in found or versions),
    )  # fmt: skip


def _all_but_newest(
    context: Context, unit: UnitOfWork, name: str, versions: Sequence[SecretVersion]
) -> list[SecretVersion]:
    """The usual case after a rotation. Only where all units agree on what is newest is that clear."""
    newest = [(one, v) for one, v in newest_by_unit(context, unit, name).items() if v is not None]
    if len({secret for _, secret in newest}) > 1:
        raise InvalidInput(
            N_("it is not clear which version of {name} is the newest: {versions}"),
            todo=N_("Name what you revoke: lastgood secrets revoke {name} VERSION"),
            name=name,
            versions=by_version(newest),
        )
    revoked = {r.secret for r in unit.secrets.revocations()}
    left = [s for s in versions if s not in revoked and s not in {secret for _, secret in newest}]
    # Whoever asked for this and died before the bundles were written anew asks again in the same words.
    held = _held(unit, name, revoked.intersection(versions))
    if not left and not held:
        raise InvalidInput(
            N_("nothing to revoke: {name} has no valid version besides the newest, {versions}"),
            todo=N_(
                "Give the new value first (lastgood secrets renew {name}, or a deploy), or name the version "
                "to revoke it all the same."
            ),
            name=name,
            versions=", ".join(sorted({shown(secret.version) for _, secret in newest})) or "-",
        )
    return [*left, *(s for s in versions if s in held)]


def _held(unit: UnitOfWork, name: str, secrets: Collection[SecretVersion]) -> frozenset[SecretVersion]:
    """Those of ``secrets`` that restore bundles hold."""
    units = {s.unit for s in unit.secrets.sealings(name=name)}
    bundles = (bundle for one in units for bundle in bundles_holding(unit, one, secrets))
    return frozenset(secret for bundle in bundles for secret in bundle.secrets).intersection(secrets)
