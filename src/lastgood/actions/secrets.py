"""Secrets of a release: values stay in memory, only versions travel on."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.context import Context
from lastgood.domain.release import Release
from lastgood.ports.estate import Rendered


def with_secrets(context: Context, rendered: Rendered) -> tuple[Release, dict[str, str]]:
    """The release with the versions of its secrets, and their values by name.

    A database's password is sealed at once, because planning has to look at the database; all others
    are sealed when the change is accepted. Raises InvalidInput for a secret that is missing.
    """
    values = {reference.name: context.secrets.resolve(reference) for reference in rendered.secrets}
    settings = [database.target.settings for database in rendered.release.databases]
    passwords = {s["password"]["secret"] for s in settings if isinstance(s.get("password"), dict)}
    for name in passwords & values.keys():
        context.vault.seal(name, values[name])
    versions = tuple(context.vault.version(name, value) for name, value in sorted(values.items()))
    return replace(rendered.release, secrets=versions), values
