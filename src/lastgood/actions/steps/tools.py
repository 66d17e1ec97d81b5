"""What the handlers share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lastgood.actions.renewing import refuse_revoked, with_valid_secrets
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import DatabaseTarget, Migration, Release
from lastgood.domain.unit import Role
from lastgood.engine.handlers import Result, StepContext
from lastgood.ports.content import ImageArchive, Objects, Vault
from lastgood.ports.drivers import Drivers, MigrationScript

BACKGROUND = (Role.WORKER, Role.SCHEDULER)


@dataclass(frozen=True)
class Tools:
    """The parts handlers work with."""

    drivers: Drivers
    objects: Objects
    vault: Vault
    images: ImageArchive
    evidence_directory: Path

    def script(self, migration: Migration) -> MigrationScript:
        """A migration with its texts, from our own store."""
        texts = [self.objects.get(d).decode() for d in (migration.deploy, migration.verify, migration.revert)]
        return MigrationScript(migration.name, migration.digest, *texts)


@dataclass(frozen=True)
class Handler:
    """Base of the handlers: every effect converges, so looking again is doing again."""

    tools: Tools

    def look(self, context: StepContext) -> Result | None:
        """Effects are written to be repeated: nothing is taken on trust after a crash."""
        return None


def release_at(context: StepContext, name: str = "release") -> Release:
    """The release that a step's parameter names."""
    with context.store.read() as unit:
        return unit.releases.get(str(context.step.params[name]))


def valid_at(context: StepContext, name: str = "release") -> Release:
    """The same for a step by which it takes work. Raises SecretRevoked when it would run with a secret that
    was revoked, be it a moment ago.
    """
    release = release_at(context, name)
    with context.store.read() as unit:
        refuse_revoked(unit, release)
    return release


def base_at(context: StepContext) -> Release | None:
    return release_at(context, "base") if context.step.params.get("base") else None


def database_at(context: StepContext, vault: Vault) -> tuple[Release, DatabaseTarget]:
    """The release of a step, with a password that may be used, and the database it names."""
    release = with_valid_secrets(context.store, vault, release_at(context))
    resource = str(context.step.params["resource"])
    database = release.database(resource)
    if database is None:
        raise InvalidInput(
            N_("release {release} has no database {resource}"),
            todo=N_("Plan the change again."),
            release=release.digest,
            resource=resource,
        )
    return release, database


def background_roles(release: Release) -> list[Role]:
    return [role for role in BACKGROUND if release.has_role(role)]
