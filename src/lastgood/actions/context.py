"""What every action is given: who asks, and the parts it may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastgood.domain.audit import Phase
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.ports.clock import Clock
from lastgood.ports.content import ImageArchive, Objects, SecretResolver, Vault
from lastgood.ports.drivers import Drivers
from lastgood.ports.estate import EstateReader
from lastgood.ports.persistence import Store, UnitOfWork


@dataclass(frozen=True)
class Actor:
    """Who asks: the operating-system user, and the host and terminal it comes from."""

    name: str
    origin: str


@dataclass(frozen=True)
class Context:
    """The parts an action may use. ``estate`` is None where no estate is needed: the way back."""

    store: Store
    objects: Objects
    images: ImageArchive
    vault: Vault
    secrets: SecretResolver
    drivers: Drivers
    clock: Clock
    actor: Actor
    state_directory: Path
    estate: EstateReader | None = None

    def need_estate(self) -> EstateReader:
        if self.estate is None:
            raise InvalidInput(
                N_("no estate here: this is not a directory with a lastgood.yaml"),
                todo=N_("Go to the estate's directory, name it with --estate, or start one: lastgood init."),
            )
        return self.estate

    def audit(
        self,
        unit: UnitOfWork,
        verb: str,
        subject: str,
        phase: Phase,
        reason: str,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Append to the audit inside the caller's transaction."""
        unit.audit.append(
            actor=self.actor.name,
            origin=self.actor.origin,
            verb=verb,
            subject=subject,
            phase=phase,
            reason=reason,
            data=data or {},
            at=self.clock.now(),
        )
