"""A runtime without processes, for tests of what stands above it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from lastgood.domain.digest import digest
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.release import Artifact
from lastgood.domain.unit import Role
from lastgood.ports.content import Objects
from lastgood.ports.drivers import Generation, RoleStatus

_pids = itertools.count(1000)


@dataclass
class _Running:
    status: RoleStatus
    ready: bool


class FakeRuntime:
    """Runs, Observes and GivesEvidence in memory.

    A generation whose id is in ``broken`` starts but never gets ready; ``crash`` is an unwanted exit,
    after which the role runs again under a new pid.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._roles: dict[tuple[str, Role], _Running] = {}
        self._prepared: set[str] = set()
        self.broken: set[str] = set()

    def prepare(self, generation: Generation) -> None:
        artifact = generation.artifact
        if artifact is None:
            return
        if Artifact.of(artifact.files).digest != artifact.digest:
            raise InvalidInput(
                N_("artifact {digest} does not match its own list of files"), digest=artifact.digest
            )
        for file in artifact.files:
            self._objects.get(file.content)
        self._prepared.add(artifact.digest)

    def start(self, generation: Generation, roles: Sequence[Role]) -> None:
        known = [spec.role for spec in generation.roles]
        if any(role not in known for role in roles):
            raise InvalidInput(N_("generation {generation} has no such role"), generation=generation.id)
        if generation.artifact and generation.artifact.digest not in self._prepared:
            raise InvalidInput(
                N_("the artifact of generation {generation} is not in place"), generation=generation.id
            )
        for role in known:
            self._roles.setdefault(
                (generation.id, role), _Running(RoleStatus(generation.id, role, False), False)
            )
        for role in roles:
            held = self._roles[generation.id, role]
            if not held.status.running:
                held.status = self._up(held.status)
                held.ready = generation.id not in self.broken

    def _up(self, status: RoleStatus) -> RoleStatus:
        pid = next(_pids)
        addresses = (f"127.0.0.1:{20000 + pid}",) if status.role is Role.WEB else ()
        started = datetime.now(UTC).timestamp()
        return replace(status, running=True, pid=pid, started=started, addresses=addresses, detail="")

    def ready(self, generation: Generation, role: Role) -> RoleStatus:
        held = self._roles.get((generation.id, role))
        if held is None:
            return RoleStatus(generation.id, role, False, detail="was never started")
        if not held.status.running:
            return replace(held.status, detail=held.status.detail or "not started yet")
        return held.status if held.ready else replace(held.status, running=False, detail="does not answer")

    def stop(self, generation: str, roles: Sequence[Role]) -> None:
        for role in roles:
            held = self._roles.get((generation, role))
            if held and held.status.running:
                held.status = replace(
                    held.status, running=False, pid=0, started=0.0, addresses=(), detail="stopped"
                )

    def status(self) -> tuple[RoleStatus, ...]:
        return tuple(held.status for held in self._roles.values())

    def observe(self) -> Observation:
        seen = sorted((s.generation, s.role.value, s.running) for s in self.status())
        return Observation(digest(seen), datetime.now(UTC), {"roles": seen})

    def evidence(self) -> Sequence[EvidenceItem]:
        return [EvidenceItem(f"{g}/{r.value}.log", b"a line\n") for g, r in self._roles]

    def crash(self, generation: str, role: Role) -> None:
        """An unwanted exit, and the restart that follows it."""
        held = self._roles[generation, role]
        held.status = self._up(replace(held.status, restarts=held.status.restarts + 1))
