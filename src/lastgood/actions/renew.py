"""secrets renew: the new value of a secret, so that a way back has a valid one before the next deploy."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from lastgood.actions.context import Context
from lastgood.actions.versions import by_version, refuse_unknown
from lastgood.domain.audit import Phase
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretReference, SecretVersion
from lastgood.domain.secret import Renewed, Sealing, shown
from lastgood.domain.unit import UnitId


def renew(
    context: Context,
    name: str,
    value: str = "",
    *,
    file: str = "",
    units: Sequence[str] = (),
    reason: str = "",
) -> Renewed:
    """Seal ``value`` (or what is in ``file``) as the newest version. ``units``: for which (or patterns of
    them), needed where they have different values; else for all that were ever given this secret.

    Raises InvalidInput: an unknown secret, no value, a value that was revoked, units with different values.
    """
    if file:
        value = context.secrets.resolve(SecretReference(name, file=file))
    elif not value or "\0" in value:
        raise InvalidInput(
            N_("the new value of {name} is empty or holds a NUL byte"),
            todo=N_(
                "Write it to standard input, or name a file: lastgood secrets renew {name} --from-file PATH"
            ),
            name=name,
        )
    newest = _newest(context, name, units)
    secret = context.vault.version(name, value)
    _refuse_revoked(context, secret)
    replaced = tuple(dict.fromkeys(s.version for s in newest.values() if s != secret))
    data = {"version": secret.version, "units": [str(one) for one in newest]}
    with context.store.write() as unit:
        context.audit(unit, "secrets renew", name, Phase.INTENT, reason, data)
    context.vault.seal(name, value)
    with context.store.write() as unit:
        now, by = context.clock.now(), context.actor.name
        for one in newest:
            unit.secrets.give(Sealing(secret, one, now, by, renewed=True))
        context.audit(unit, "secrets renew", name, Phase.OUTCOME, reason, data)
    return Renewed(secret, tuple(sorted(newest)), not replaced, replaced)


def _newest(context: Context, name: str, wanted: Sequence[str]) -> dict[UnitId, SecretVersion]:
    """The units that are meant, with the version that each was given last."""
    with context.store.read() as unit:
        sealings = unit.secrets.sealings(name=name)
    refuse_unknown(name, sealings)
    newest = {s.unit: s.secret for s in reversed(sealings)}
    chosen = {u: s for u, s in newest.items() if any(fnmatchcase(str(u), pattern) for pattern in wanted)}
    if wanted and not chosen:
        raise InvalidInput(
            N_("no such unit was ever given {name}; these were: {units}"),
            todo=N_("Name one of them, or leave --unit out."),
            name=name,
            units=", ".join(str(one) for one in sorted(newest)),
        )
    if not wanted and len(set(newest.values())) > 1:
        raise InvalidInput(
            N_("units have different values of {name}: {versions}"),
            todo=N_("Say for which of them this one is: --unit UNIT, more than once or with a pattern."),
            name=name,
            versions=by_version(sorted(newest.items())),
        )
    return chosen or newest


def _refuse_revoked(context: Context, secret: SecretVersion) -> None:
    with context.store.read() as unit:
        revocation = next((r for r in unit.secrets.revocations() if r.secret == secret), None)
    if revocation is not None:
        raise InvalidInput(
            N_("this value of {name} is version {version}, which was revoked at {at} by {by}: {reason}"),
            todo=N_("A revocation is not lifted: give a value that is new."),
            name=secret.name,
            version=shown(secret.version),
            at=f"{revocation.at:%Y-%m-%d %H:%M:%S}",
            by=revocation.by,
            reason=revocation.reason,
        )
