"""The suites of all abilities, live against the driver and against the fake."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.image import Image
from lastgood.domain.release import Readiness, RoleSpec
from lastgood.domain.unit import Role, UnitId
from lastgood.ports.drivers import Generation, Runs
from lastgood.ports.images import KeepsImages
from lastgood.store.images import FileImages
from lastgood.testing.conformance_bundles import BundlesGenerationsConformance
from lastgood.testing.conformance_generations import (
    FindsDriftConformance,
    HasRoomConformance,
    RemovesGenerationsConformance,
)
from lastgood.testing.conformance_images import KeepsImagesConformance
from lastgood.testing.conformance_runs import RunsConformance, RuntimeHooks
from lastgood.testing.fake_engine import FakeCache, FakeEngine
from lastgood.testing.fake_files import FakeTools
from lastgood.testing.images import ImageBuild, keep


class OnDocker(RuntimeHooks):
    """In the host's own network: no bridge to set up, so a container starts in half the time."""

    @pytest.fixture(autouse=True)
    def unit_of_its_own(self, bench: Any) -> None:
        self.bench = bench
        bench.settings["network"] = "host"

    def driver(self) -> Runs:
        made: Runs = self.bench.driver
        return made

    def generation(self, id: str, broken: bool = False) -> Generation:
        web = RoleSpec(Role.WEB, ("/app/web",), ready=Readiness("/nothing" if broken else "/healthz"))
        made: Generation = self.bench.generation(id, web, RoleSpec(Role.WORKER, ("/app/worker",)))
        return made

    def crash(self, generation: str, role: Role) -> None:
        os.kill(self.of(generation, role).pid, signal.SIGKILL)

    def forged(self) -> Generation:
        return replace(self.generation("g1"), image=self.lost())

    def unprepared(self) -> Generation:
        return self.bench.generation("g1", image=self.bench.image("fresh", labels={"never": "loaded"}))

    def lost(self) -> Image:
        image: Image = self.bench.image()
        return replace(
            image, config="sha256:" + "1" * 64, manifest="sha256:" + "2" * 64, digest="sha256:" + "2" * 64
        )

    def hungry(self, id: str) -> Generation:
        self.bench.settings["memory_reservation"] = "9000g"
        return self.generation(id)

    def with_secret(self, id: str) -> Generation:
        secret = self.bench.secret("TOKEN", BundlesGenerationsConformance.SECRET)
        return replace(self.generation(id), secrets=(secret,))

    def end_by_hand(self, generation: str, role: Role) -> None:
        self.bench.engine.docker("stop", "--time", "0", self.bench.name(generation, role))

    def remove_by_hand(self, generation: str, role: Role) -> None:
        self.bench.engine.docker("rm", "--force", self.bench.name(generation, role))


class TestDockerRuns(OnDocker, RunsConformance):
    pass


class TestDockerRemovesGenerations(OnDocker, RemovesGenerationsConformance):
    pass


class TestDockerFindsDrift(OnDocker, FindsDriftConformance):
    pass


class TestDockerHasRoom(OnDocker, HasRoomConformance):
    pass


class TestDockerBundlesGenerations(OnDocker, BundlesGenerationsConformance):
    pass


class TestDockerKeepsImages(KeepsImagesConformance):
    @pytest.fixture(autouse=True)
    def unit_of_its_own(self, bench: Any) -> None:
        self.bench = bench

    def engine(self) -> KeepsImages:
        made: KeepsImages = self.bench.driver
        return made

    def neighbour(self) -> KeepsImages:
        unit, self.bench.unit = self.bench.unit, UnitId("shop", "prod", "neighbour")
        try:
            return self.engine()
        finally:
            self.bench.unit = unit

    def image(self, name: str) -> Image:
        made: Image = self.bench.image(name, labels={"unit": str(self.bench.unit), "name": name})
        return made

    def lost(self) -> Image:
        made: Image = self.image("lost")
        self.bench.tools.images.remove(made)
        return made

    def prune(self) -> None:
        self.bench.engine.docker("image", "prune", "--all", "--force")

    def prune_containers(self) -> None:
        self.bench.engine.docker("container", "prune", "--force")


class OnFake(RuntimeHooks):
    @pytest.fixture(autouse=True)
    def fake_of_its_own(self, tmp_path: Path) -> None:
        self.tools = FakeTools(tmp_path)
        self.archive = FileImages(tmp_path / "images")
        self.cache = FakeCache()
        self.fake = FakeEngine(self.tools.objects, self.archive, self.cache)
        self.beside = FakeEngine(self.tools.objects, self.archive, self.cache, "neighbour")

    def driver(self) -> Runs:
        return self.fake

    def generation(self, id: str, broken: bool = False) -> Generation:
        if broken:
            self.fake.broken.add(id)
        roles = tuple(RoleSpec(role, ()) for role in (Role.WEB, Role.WORKER))
        return Generation(id, UnitId("shop", "prod", "us"), roles, None, None, image=self.image("web"))

    def image(self, name: str) -> Image:
        return keep(
            self.archive, f"registry.test/shop/{name}:1", ImageBuild(labels={"name": name}, busybox=False)
        )

    def lost(self) -> Image:
        image = self.image("lost")
        self.archive.remove(image)
        return image

    def forged(self) -> Generation:
        return replace(self.generation("g1"), image=self.lost())

    def crash(self, generation: str, role: Role) -> None:
        self.fake.crash(generation, role)

    def hungry(self, id: str) -> Generation:
        self.fake.needs[id] = 1000
        return self.generation(id)

    def with_secret(self, id: str) -> Generation:
        secret = self.tools.vault.seal("TOKEN", BundlesGenerationsConformance.SECRET)
        return replace(self.generation(id), secrets=(secret,))

    def end_by_hand(self, generation: str, role: Role) -> None:
        self.fake.end_by_hand(generation, role)

    def remove_by_hand(self, generation: str, role: Role) -> None:
        self.fake.remove_by_hand(generation, role)

    def engine(self) -> KeepsImages:
        return self.fake

    def neighbour(self) -> KeepsImages:
        return self.beside

    def prune(self) -> None:
        self.cache.prune()

    def prune_containers(self) -> None:
        self.cache.holders.clear()


class TestFakeRuns(OnFake, RunsConformance):
    pass


class TestFakeRemovesGenerations(OnFake, RemovesGenerationsConformance):
    pass


class TestFakeFindsDrift(OnFake, FindsDriftConformance):
    pass


class TestFakeHasRoom(OnFake, HasRoomConformance):
    pass


class TestFakeBundlesGenerations(OnFake, BundlesGenerationsConformance):
    pass


class TestFakeKeepsImages(OnFake, KeepsImagesConformance):
    pass
