"""The part of the service for versions of secrets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lastgood.actions.context import Context
from lastgood.domain.secret import Renewed, Revoked, VersionStatus


class SecretVersions:
    """One method per verb, as in ``Service``."""

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context

    def list(self, name: str = "") -> Sequence[VersionStatus]:
        """Every version known here, by name, the newest first."""
        from lastgood.actions.versions import secret_versions

        return secret_versions(self._context(), name)

    def revoke(self, name: str, version: str = "", *, reason: str) -> Revoked:
        """Nothing goes back to it from now on; without ``version``: to all but the newest."""
        from lastgood.actions.revoke import revoke

        return revoke(self._context(), name, version, reason=reason)

    def renew(
        self, name: str, value: str = "", *, file: str = "", units: Sequence[str] = (), reason: str = ""
    ) -> Renewed:
        """A new value, which is sealed at once."""
        from lastgood.actions.renew import renew

        return renew(self._context(), name, value, file=file, units=units, reason=reason)
