from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lastgood.testing.docker_engine import DockerEngine, docker_engine
from lastgood.testing.haproxy_server import haproxy
from lastgood.testing.images import push
from lastgood.testing.registry_server import RegistryServer, registry
from tests.images.customers import customers
from tests.images.program import image
from tests.images.runner import Runner
from tests.images.world import Parts, World

GOOD = ("one", "two", "three", "four", "five")
BROKEN = ("exit", "exit_later", "deaf", "broken", "lies", "unhealthy", "greedy", "hungry", "tires")


def pytest_configure(config: pytest.Config) -> None:
    """Known without xdist as well."""
    config.addinivalue_line("markers", "xdist_group(name): tests that share servers run in one worker")


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
def world(tmp_path: Path, parts: Parts) -> World:
    """An estate of which nothing was deployed yet, a runner for it, and some customers at any time."""
    return World(tmp_path / "world", parts)


@pytest.fixture
def two_sites(tmp_path: Path, parts: Parts) -> World:
    return World(tmp_path / "world", parts, sites=("us", "de"))


@pytest.fixture(autouse=True)
def alive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner | None]:
    """A runner and a few customers for the world of a test, if it has one of its own."""
    name = next((n for n in ("world", "two_sites") if n in request.fixturenames), "")
    if not name:
        yield None
        return
    world: World = request.getfixturevalue(name)
    started = Runner(world.places).start()
    with ExitStack() as crowds:
        for port in world.ports.values():
            crowds.enter_context(customers(port, tmp_path / "few", rate=50, connections=3))
        yield started
    started.kill()


@pytest.fixture
def runner(alive: Runner) -> Runner:
    """The runner of the world."""
    return alive


def sweep(engine: DockerEngine) -> None:
    """No container is left of a test; images stay."""
    if found := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", "--volumes", *found)
