"""The suite of Runs, live against the driver and against the fake."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.release import Artifact, FileEntry, Readiness, RoleSpec
from lastgood.domain.unit import Role, UnitId
from lastgood.ports.drivers import Generation, Runs
from lastgood.testing.conformance_runs import RunsConformance
from lastgood.testing.fake_files import FakeTools
from lastgood.testing.fake_runtime import FakeRuntime


class TestProcessDriver(RunsConformance):
    @pytest.fixture(autouse=True)
    def unit_of_its_own(self, bench: Any) -> None:
        self.bench = bench

    def driver(self) -> Runs:
        made: Runs = self.bench.driver
        return made

    def generation(self, id: str, broken: bool = False) -> Generation:
        path = "/broken" if broken else "/healthz"
        made: Generation = self.bench.generation(
            id,
            RoleSpec(Role.WEB, (sys.executable, "{artifact}/web.py"), ready=Readiness(path)),
            RoleSpec(Role.WORKER, ("bin/worker",)),
        )
        return made

    def crash(self, generation: str, role: Role) -> None:
        os.kill(self.of(generation, role).pid, signal.SIGKILL)


class TestFakeRuntime(RunsConformance):
    @pytest.fixture(autouse=True)
    def fake_of_its_own(self, tmp_path: Path) -> None:
        self.tools = FakeTools(tmp_path)
        self.fake = FakeRuntime(self.tools.objects)

    def driver(self) -> Runs:
        return self.fake

    def generation(self, id: str, broken: bool = False) -> Generation:
        if broken:
            self.fake.broken.add(id)
        artifact = Artifact.of((FileEntry("web.py", self.tools.objects.put(b"web")),))
        roles = tuple(RoleSpec(role, ("run",)) for role in (Role.WEB, Role.WORKER))
        return Generation(id, UnitId("shop", "prod", "us"), roles, artifact, None)

    def crash(self, generation: str, role: Role) -> None:
        self.fake.crash(generation, role)
