"""Runs generations of a unit as containers of a Docker engine, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lastgood.domain.digest import digest
from lastgood.domain.image import Image
from lastgood.domain.observation import Drift, EvidenceItem, Observation
from lastgood.domain.unit import Role, UnitId
from lastgood.drivers.docker.bundle import bundle
from lastgood.drivers.docker.containers import Containers
from lastgood.drivers.docker.drift import Differences
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.evidence import Evidence
from lastgood.drivers.docker.images import Images
from lastgood.drivers.docker.instance import Instance, inspected
from lastgood.drivers.docker.look import Readiness, by_role, together
from lastgood.drivers.docker.ports import PortChoice
from lastgood.drivers.docker.room import refuse_without_memory
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.drivers.docker.wanted import Wanted, wanted
from lastgood.ports.bundles import BundlePart
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Generation, RoleStatus


class DockerRuntime:
    """Runs, Observes, GivesEvidence, HasRoom, RemovesGenerations, FindsDrift, KeepsImages and
    BundlesGenerations.
    """

    def __init__(self, unit: UnitId, settings: DockerSettings, tools: DriverTools) -> None:
        self._settings = settings
        self._tools = tools
        self._engine = Engine(settings)
        self._images = Images(unit, self._engine, tools.images)
        ports = PortChoice(self._engine, settings)
        self._containers = Containers(unit, self._engine, self._images, ports, tools)
        self._differences = Differences(unit, self._engine, self._containers, self._images, tools.vault)
        self._evidence = Evidence(unit, self._engine, tools.vault)

    # Runs

    def prepare(self, generation: Generation) -> None:
        """Have its image in the engine, held. Raises InvalidInput for a generation without one."""
        for first in self._wanted(generation, [spec.role for spec in generation.roles])[:1]:
            self._images.hold(first.image)

    def start(self, generation: Generation, roles: Sequence[Role]) -> None:
        """Raises Rejected at once for what can't be started: a command that is not there, an image that is
        not there, an option that the engine refuses, a stranger's container with our name. A container that
        somebody changed is made again.
        """
        self._containers.have(self._wanted(generation, roles))

    def ready(self, generation: Generation, role: Role) -> RoleStatus:
        """A look at each container, and a request to each web container from this machine. One with another
        image or environment than the generation's is not ready, whatever it answers.
        """
        if all(spec.role is not role for spec in generation.roles):
            return RoleStatus(generation.id, role, False, detail="was never started")
        named = self._wanted(generation, [role])
        found = {one.name: seen for one in named if (seen := self._containers.look(one.name)) is not None}
        return Readiness(self._engine, self._settings, self._tools.vault).look(named, found)

    def stop(self, generation: str, roles: Sequence[Role]) -> None:
        """They stay, with logs and configuration, and do not come back with the engine."""
        self._containers.end(generation, roles)

    def status(self) -> tuple[RoleStatus, ...]:
        """One list, and a look at each container that runs."""
        grouped = by_role(self._seen(one) for one in self._containers.in_place())
        return tuple(
            together(generation, role, instances, self._settings)
            for (generation, role), instances in grouped.items()
        )

    # HasRoom, RemovesGenerations, FindsDrift

    def refuse_without_room(self, generation: Generation, roles: Sequence[Role]) -> None:
        """Memory: what roles declare, against what the engine's machine has free."""
        running = {one.name for one in self._containers.in_place() if one.is_active}
        missing = [one for one in self._wanted(generation, roles) if one.name not in running]
        refuse_without_memory(self._engine, self._settings, missing)

    def remove(self, generation: str) -> None:
        self._containers.remove(generation)

    def drift(self, generation: Generation) -> tuple[Drift, ...]:
        named = self._wanted(generation, [spec.role for spec in generation.roles])
        return tuple(self._differences.find(named))

    # KeepsImages

    def hold(self, image: Image) -> None:
        self._images.hold(image)

    def has(self, image: Image) -> bool:
        return self._images.has(image)

    def let_go(self, image: Image) -> None:
        self._images.let_go(image)

    # BundlesGenerations

    def bundle_start(self, generation: Generation, archive: str) -> BundlePart:
        named = self._wanted(generation, [spec.role for spec in generation.roles])
        return bundle(named, archive, self._tools.objects)

    # Observes, GivesEvidence

    def observe(self) -> Observation:
        """The fingerprint covers which roles of which generations run, not their pids."""
        now = datetime.now(UTC)
        seen = self.status()
        facts: dict[str, Any] = {"engine": self._settings.host, "generations": {}}
        for s in seen:
            roles = facts["generations"].setdefault(s.generation, {})
            roles[s.role.value] = {
                "running": s.running,
                "pid": s.pid,
                "addresses": list(s.addresses),
                "detail": s.detail,
            }
        return Observation(digest(sorted((s.generation, s.role.value, s.running) for s in seen)), now, facts)

    def evidence(self) -> Sequence[EvidenceItem]:
        return list(self._evidence.collect(self._containers.in_place()))

    # Within

    def _wanted(self, generation: Generation, roles: Sequence[Role]) -> tuple[Wanted, ...]:
        return tuple(one for role in roles for one in wanted(generation, role, self._settings))

    def _seen(self, listed: Instance) -> Instance:
        found = self._engine.inspect(listed.id) if listed.is_active else None
        return listed if found is None else inspected(found)
