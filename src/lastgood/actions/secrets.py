"""Secrets of a release: values stay in memory, only versions travel on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lastgood.actions.context import Context
from lastgood.domain.release import Release
from lastgood.ports.estate import Rendered


def password_names(release: Release) -> set[str]:
    """Secrets that are the passwords of the release's databases."""
    settings = [database.target.settings for database in release.databases]
    return {s["password"]["secret"] for s in settings if isinstance(s.get("password"), Mapping)}


def with_secrets(context: Context, rendered: Rendered) -> tuple[Release, dict[str, str]]:
    """The release with the versions of its secrets, and their values by name.

    A database's password is sealed at once, because planning has to look at the database; all others
    are sealed when the change is accepted. Raises InvalidInput for a secret that is missing.
    """
    values = {reference.name: context.secrets.resolve(reference) for reference in rendered.secrets}
    for name in password_names(rendered.release) & values.keys():
        context.vault.seal(name, values[name])
    versions = tuple(context.vault.version(name, value) for name, value in sorted(values.items()))
    return replace(rendered.release, secrets=versions), values
