"""Secrets of a release: values stay in memory, only versions travel on."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lastgood.actions.context import Context
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import Release, SecretVersion
from lastgood.domain.secret import shown
from lastgood.ports.estate import Rendered

BESIDES = ("poolers", "replicas")
"""What a database's settings list beside it, each perhaps with a password of its own."""


def password_names(release: Release) -> set[str]:
    """Secrets that are the passwords of the release's databases, and of what is beside them."""
    settings = [database.target.settings for database in release.databases]
    return {
        s["password"]["secret"] for s in settings if isinstance(s.get("password"), Mapping)
    } | beside_names(release)


def beside_names(release: Release) -> set[str]:
    """Secrets that are the passwords of poolers in front of its databases, and of replicas."""
    found = [
        one["password"]["secret"]
        for database in release.databases
        for kind in BESIDES
        for one in database.target.settings.get(kind) or ()
        if isinstance(one.get("password"), Mapping)
    ]
    return set(found)


def logins_of(release: Release) -> Mapping[str, Mapping[str, Any]]:
    """The logins of registries that the release names, by registry."""
    hosts = release.registry.settings.get("hosts") if release.registry else None
    known = hosts.items() if isinstance(hosts, Mapping) else ()
    return {host: login for host, login in known if isinstance(login, Mapping)}


def login_names(release: Release) -> set[str]:
    """Secrets that are the passwords of the registry that the release's image comes from."""
    passwords = [login.get("password") for login in logins_of(release).values()]
    return {p["secret"] for p in passwords if isinstance(p, Mapping) and p.get("secret")}


def secrets_of_service(release: Release) -> tuple[SecretVersion, ...]:
    """Those that the service gets: how its image was fetched, and who may pause a pooler, is none of its
    business.
    """
    hidden = login_names(release) | beside_names(release)
    return tuple(secret for secret in release.secrets if secret.name not in hidden)


def with_secrets(
    context: Context, rendered: Rendered, only: Container[str] | None = None
) -> tuple[Release, dict[str, str]]:
    """The release with the versions of its secrets, and their values by name; ``only``: of these.

    Passwords of databases and registries are sealed at once, because planning has to ask them; all others are
    sealed when the change is accepted. Raises InvalidInput for a secret that is missing, or that was revoked.
    """
    wanted = [reference for reference in rendered.secrets if only is None or reference.name in only]
    values = {reference.name: context.secrets.resolve(reference) for reference in wanted}
    versions = tuple(context.vault.version(name, value) for name, value in sorted(values.items()))
    _refuse_revoked(context, rendered, versions)
    for name in (password_names(rendered.release) | login_names(rendered.release)) & values.keys():
        context.vault.seal(name, values[name])
    return replace(rendered.release, secrets=versions), values


def _refuse_revoked(context: Context, rendered: Rendered, versions: Sequence[SecretVersion]) -> None:
    with context.store.read() as unit:
        revoked = {revocation.secret: revocation for revocation in unit.secrets.revocations()}
    for secret in versions:
        if secret in revoked:
            raise InvalidInput(
                N_("the source of {name} still gives the revoked version {version}: change it there first"),
                todo=N_("Put the new value at {place}; it was revoked at {at} by {by}: {reason}"),
                where=str(rendered.release.unit),
                name=secret.name,
                version=shown(secret.version),
                place=next(r.file or f"${r.env}" for r in rendered.secrets if r.name == secret.name),
                at=f"{revoked[secret].at:%Y-%m-%d %H:%M:%S}",
                by=revoked[secret].by,
                reason=revoked[secret].reason,
            )
