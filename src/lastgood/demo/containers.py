"""The world with containers: a container engine, a registry and HAProxy of its own, beside PostgreSQL.

Nothing of a Docker that is installed here already is touched: the engine has its own data, socket and bridge.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from lastgood.demo.estate import SITES
from lastgood.demo.images import push_shop
from lastgood.demo.processes import engines
from lastgood.demo.world import (
    ProcessMark,
    Started,
    World,
    free_ports,
    not_started,
    prepare,
    settle,
    start_all,
    start_postgres,
)
from lastgood.domain.errors import DriverError, InvalidInput, NotAllowed
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId
from lastgood.testing import docker_engine
from lastgood.testing.haproxy_server import HaproxyServer, backend
from lastgood.testing.postgres_server import find
from lastgood.testing.registry_server import RegistryServer, open_registry

PACKAGES = {
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "haproxy": "haproxy",
    "ip": "iproute2",
}
"""Programs, and the packages of Debian that they are in."""
LONGEST_PATH = 50
"""Of the directory: containerd's sockets lie deep in it, and a socket's path has 107 bytes at most."""


def start_container_world(directory: Path) -> World:
    """As ``start_world``; its servers are ``docker``, ``registry`` and ``haproxy``.

    Raises also NotAllowed without root's rights, InvalidInput when a program is not installed.
    """
    refuse_without_parts(directory.resolve())
    directory = prepare(directory)
    ports = dict(zip(SITES, free_ports(len(SITES)), strict=True))
    starts = {
        "docker": lambda: _start_engine(directory),
        "registry": lambda: _fill_registry(directory),
        "haproxy": lambda: _start_haproxy(directory, ports),
        "postgres": lambda: start_postgres(directory, SITES),
    }
    started = start_all(directory, starts)
    started |= start_all(directory, {"postgres": lambda: _open_postgres(directory)})
    return settle(
        World(
            directory,
            started["postgres"][0],
            {name: address for name, (address, _) in started.items() if name != "postgres"},
            ports,
            {name: mark for name, (_, mark) in started.items()},
        )
    )


def refuse_without_parts(directory: Path) -> None:
    """Say what is missing before anything begins."""
    if os.geteuid() != 0:
        raise NotAllowed(
            N_("a container engine of our own can only be started by root"),
            todo=N_("Run it with sudo, or without containers: lastgood demo"),
        )
    where = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program, path=where)]
    if missing:
        raise InvalidInput(
            N_("not installed: {packages}"),
            todo=N_("Install it: apt-get install {packages}"),
            packages=" ".join(missing),
        )
    if find_spec("docker") is None:
        raise InvalidInput(
            N_("the client of the container engine is not installed"),
            todo=N_("Install it: pip install 'lastgood[demo,docker]'"),
        )
    if len(str(directory)) > LONGEST_PATH:
        raise InvalidInput(
            N_("{path} is too long for the sockets of a container engine"),
            todo=N_("Name a shorter directory: --directory."),
            path=str(directory),
        )


def start_registry(world: World) -> RegistryServer:
    """Start the registry again after it was stopped, with all that is in it."""
    registry = open_registry(world.directory / "registry")
    registry.address = world.servers["registry"]
    try:
        registry.start()
    except (RuntimeError, OSError) as problem:
        raise not_started("docker-registry", world.directory, problem) from problem
    return registry


def prune_everything(world: World) -> None:
    """What somebody does who wants room on the disk: stopped containers go, and images that run nowhere."""
    for engine in engines(world.directory):
        try:
            engine.docker("system", "prune", "--all", "--force")
        except docker_engine.EngineFailed as problem:
            raise DriverError(
                N_("the container engine could not be pruned: {words}"),
                todo=N_("Mend what it says, and run the demonstration again."),
                where=str(world.directory),
                words=str(problem),
            ) from problem


def _start_engine(directory: Path) -> Started:
    try:
        # The name is that of a control group and of a namespace too, so it is another one each time.
        engine = docker_engine.start_detached(directory / "docker" / f"lgd-{secrets.token_hex(4)}")
    except (docker_engine.EngineFailed, OSError) as problem:
        raise not_started("dockerd", directory, problem) from problem
    return engine.host, ProcessMark.of(engine.pid)


def _fill_registry(directory: Path) -> Started:
    """The registry with the images of all releases in it."""
    registry = open_registry(directory / "registry")
    try:
        registry.start()
    except (RuntimeError, OSError) as problem:
        raise not_started("docker-registry", directory, problem) from problem
    push_shop(registry)
    return registry.address, ProcessMark.of(registry.pid)


def _start_haproxy(directory: Path, ports: Mapping[UnitId, int]) -> Started:
    home = directory / "haproxy"
    (home / "state").mkdir(parents=True)
    server = HaproxyServer(home, home / "api.sock", f"127.0.0.1:{free_ports(1)[0]}")
    given = {"sockets": [str(server.socket)], "state": str(home / "state")}
    try:
        server.serve(
            *(backend(unit, given | {"listen": f"127.0.0.1:{port}"}) for unit, port in ports.items())
        )
    except (RuntimeError, OSError) as problem:
        raise not_started("HAProxy", directory, problem) from problem
    return str(server.socket), ProcessMark.of(server.pid)


def _open_postgres(directory: Path) -> Started:
    """Let containers in, and nobody else: it listens at the engine's gateway too, under the same port."""
    server, gateway = find(directory / "postgres"), engines(directory)[0].gateway
    assert server is not None
    server.configure(listen_addresses=f"127.0.0.1,{gateway}")
    server.admit(f"host all all {gateway}/24 trust")
    server.restart()
    url = server.url().rpartition("/")[0].replace("127.0.0.1", gateway)
    return url, ProcessMark.of(server.pid)
