"""A theatre whose releases have a token."""

from __future__ import annotations

from lastgood.actions.renew import renew
from lastgood.actions.revoke import revoke
from lastgood.actions.status import unit_statuses
from lastgood.domain.release import Release, SecretVersion
from lastgood.domain.status import UnitStatus
from lastgood.domain.unit import Role
from tests.actions.theatre import UNIT, Theatre


class Secretive:
    """A theatre whose releases have a token."""

    def __init__(self, theatre: Theatre) -> None:
        self.theatre = theatre

    def version(self, value: str) -> SecretVersion:
        return self.theatre.context.vault.version("TOKEN", value)

    def release(self, text: str, value: str) -> Release:
        return self.theatre.release(text, secrets=(self.theatre.context.vault.seal("TOKEN", value),))

    def stand(self, text: str, value: str) -> Release:
        """On a first state, given by a deploy that went well."""
        self.theatre.stand(self.theatre.release("zero"))
        return self.theatre.deploy_well(self.release(text, value))

    def revoke(self, value: str) -> None:
        revoke(self.theatre.context, "TOKEN", self.version(value).version, reason="leaked")

    def renew(self, value: str) -> SecretVersion:
        return renew(self.theatre.context, "TOKEN", value, reason="rotated").secret

    def current(self) -> Release:
        with self.theatre.store.read() as unit:
            return unit.releases.get(unit.releases.current(UNIT))

    def status(self) -> UnitStatus:
        return unit_statuses(self.theatre.context, True, UNIT)[0]

    def assert_on(self, text: str, value: str) -> None:
        """The unit is on that configuration with that token, all of it, and on nothing else."""
        release = self.current()
        assert (release.files, release.secrets) == (self.release(text, value).files, (self.version(value),))
        assert self.theatre.serves(release)
        wanted = {s.generation for s in self.theatre.runtime.status() if s.running}
        assert wanted == {f"{UNIT.slug}-{release.digest[7:19]}"}
        assert len(self.theatre.running(Role.WORKER)) == 1
