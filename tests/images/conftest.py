from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.testing.docker_engine import DockerEngine, docker_engine
from lastgood.testing.haproxy_server import haproxy
from lastgood.testing.images import push
from lastgood.testing.registry_server import RegistryServer, registry
from tests.images.program import image
from tests.images.runner import Runner
from tests.images.world import Parts, World

GOOD = ("one", "two", "three", "four", "five")
BROKEN = ("exit", "exit_later", "deaf", "broken", "lies", "unhealthy", "greedy", "hungry")


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    with docker_engine("--live-restore") as started:
        yield started


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry with ``shop/page`` in every quality."""
    with registry(tmp_path_factory.mktemp("shelf")) as server:
        for name in GOOD:
            push(server, f"shop/page:{name}", image(name, checked=name == "two"))
        for behaviour in BROKEN:
            push(server, f"shop/page:{behaviour}", image(behaviour, behaviour))
        yield server


@pytest.fixture
def parts(tmp_path: Path, engine: DockerEngine, shelf: RegistryServer) -> Iterator[Parts]:
    with haproxy(tmp_path) as proxy:
        yield Parts(engine, shelf, proxy)
        sweep(engine)


@pytest.fixture
def world(tmp_path: Path, parts: Parts) -> Iterator[World]:
    """An estate that nothing was deployed of yet, and a runner that is there for it."""
    made = World(tmp_path / "world", parts)
    runner = Runner(made.places).start()
    yield made
    runner.kill()


def sweep(engine: DockerEngine) -> None:
    """No container is left of a test; images stay."""
    if found := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", "--volumes", *found)
