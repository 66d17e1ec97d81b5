"""From a closed registry through our archive into a real engine, and back when each of them is gone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.actions.context import Actor, Context
from lastgood.actions.proving import prove_images
from lastgood.actions.rollback import refuse_incomplete
from lastgood.actions.steps.images import FetchImage, HoldImage
from lastgood.actions.steps.tools import Handler, Tools
from lastgood.bootstrap.drivers import DriverRegistry
from lastgood.clock import SystemClock
from lastgood.domain.errors import NotReversible
from lastgood.domain.message import Message
from lastgood.domain.plan import Step, StepKind
from lastgood.domain.release import Release, RoleSpec
from lastgood.domain.unit import Role, Target
from lastgood.engine.handlers import Result, StepContext
from lastgood.ports.images import KeepsImages
from lastgood.store.database import open_store
from lastgood.store.resolver import SecretSources
from lastgood.testing.docker_engine import DockerEngine, docker_engine
from lastgood.testing.images import ImageBuild, push
from lastgood.testing.registry_server import registry
from tests.drivers.registry.conftest import UNIT, Lab, lab_of


class Line:
    """A release whose image has to be fetched with a password, and the steps that do it."""

    def __init__(self, lab: Lab, engine: DockerEngine, directory: Path) -> None:
        self.lab, self.engine = lab, engine
        clock, tools = SystemClock(), lab.tools
        self.store = open_store(directory / "state", clock)
        drivers = DriverRegistry(tools.objects, tools.vault, tools.images, directory / "drivers")
        self.context = Context(
            self.store, tools.objects, tools.images, tools.vault, SecretSources(), drivers, clock,
            Actor("ann", "here"), directory,
        )  # fmt: skip
        self.tools = Tools(drivers, tools.objects, tools.vault, tools.images, directory)
        secret = tools.vault.seal("LOGIN", lab.server.password)
        login = {"username": lab.server.user, "password": {"secret": secret.name}}
        self.image = push(lab.server, f"{lab.name}:1.4", ImageBuild(["/bin/echo", "it runs"]))
        self.release = Release(
            UNIT, "c", secrets=(secret,), roles=(RoleSpec(Role.WORKER, ()),), image=self.image,
            runtime=Target("docker", {"host": engine.host}),
            registry=Target("registry", {"hosts": {lab.address: login}}),
        )  # fmt: skip
        with self.store.write() as unit:
            unit.releases.put(self.release)

    def do(self, handler: type[Handler], kind: StepKind) -> Result:
        step = Step("image", kind, Message("x"), {"release": self.release.digest})
        return handler(self.tools).run(StepContext("r-1", step, self.store, self.context.clock))  # type: ignore[attr-defined, no-any-return]

    def lose_engine(self) -> None:
        for container in self.engine.docker("ps", "-aq").split():
            self.engine.docker("rm", "-f", container)
        self.engine.docker("image", "prune", "-a", "-f")
        assert not self.has()

    def lose_archive(self) -> None:
        shutil.rmtree(self.lab.tools.directory / "images")

    def has(self) -> bool:
        assert self.release.runtime is not None
        engine = self.context.drivers.get(UNIT, self.release.runtime)
        assert isinstance(engine, KeepsImages)
        return engine.has(self.image)

    def runs(self) -> bool:
        """Also after somebody pruned what nothing protects."""
        self.engine.docker("image", "prune", "-a", "-f")
        return self.engine.docker("run", "--rm", "--network=none", self.image.config) == "it runs"


@pytest.fixture
def line(tmp_path: Path, engine: DockerEngine) -> Iterator[Line]:
    with registry(tmp_path, auth="basic") as server:
        made = Line(lab_of(server, tmp_path / "kept"), engine, tmp_path)
        yield made
        made.store.close()


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    with docker_engine() as running:
        yield running


def test_there_and_back_with_one_of_the_three_left(line: Line) -> None:
    done = line.do(FetchImage, StepKind.FETCH_IMAGE)
    assert (done["held"], done["tag_asked"]) == (True, True)
    assert done["bytes"] > 100_000
    assert line.runs()
    assert line.do(FetchImage, StepKind.FETCH_IMAGE)["bytes"] == 0

    line.lab.server.kill()
    line.lose_engine()
    refuse_incomplete(line.context, line.release)
    assert line.do(HoldImage, StepKind.HOLD_IMAGE)["bytes"] == 0
    assert line.runs()

    line.lose_archive()
    refuse_incomplete(line.context, line.release)
    line.do(HoldImage, StepKind.HOLD_IMAGE)
    assert line.runs()

    line.lose_engine()
    with pytest.raises(NotReversible, match="neither kept here whole nor in the engine"):
        refuse_incomplete(line.context, line.release)
    line.lab.server.start()
    (proof,) = prove_images(line.context, (line.release,), line.release, lambda told: None)
    assert (proof.kept, proof.held, proof.errors) == (True, True, ())
    assert line.runs()
