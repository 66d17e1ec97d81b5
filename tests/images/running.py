"""What really runs: asked of the engine itself, past our own driver."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import docker

from lastgood.domain.digest import short
from lastgood.domain.release import Release
from lastgood.domain.unit import UnitId
from tests.images.customers import page
from tests.images.world import DEV, World

UNIT, GENERATION, ROLE = "dev.lastgood.unit", "dev.lastgood.generation", "dev.lastgood.role"
CONFIG = "/etc/lastgood"


@dataclass(frozen=True)
class Container:
    """One container as the engine has it. ``inspected`` is all that it says of it."""

    name: str
    generation: str
    role: str
    running: bool
    inspected: Mapping[str, Any]

    @property
    def pid(self) -> int:
        return int(self.inspected["State"]["Pid"])


def containers(world: World, unit: UnitId = DEV, *, running: bool = True) -> list[Container]:
    """Those of a unit's roles, by name; also those that don't run, when asked for."""
    found = []
    for inspected in _inspected(world, f"{UNIT}={unit}"):
        labels = inspected["Config"]["Labels"]
        is_running = bool(inspected["State"]["Running"])
        if labels.get(ROLE) and (is_running or not running):
            name = inspected["Name"].lstrip("/")
            found.append(Container(name, labels[GENERATION], labels[ROLE], is_running, inspected))
    return sorted(found, key=lambda container: container.name)


def _inspected(world: World, label: str) -> list[dict[str, Any]]:
    ask = ("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}")
    ids = world.parts.engine.docker(*ask).split()
    found: list[dict[str, Any]] = json.loads(world.parts.engine.docker("inspect", *ids)) if ids else []
    return found


def portrait(world: World, unit: UnitId = DEV) -> dict[str, dict[str, Any]]:
    """By role and number, everything of the running containers that a service can notice: image, command,
    environment, limits, mounts, and the files of its configuration, byte for byte.
    """
    client = docker.DockerClient(world.parts.engine.host)
    try:
        return {
            ".".join(c.name.split(".")[-2:]): _portrait(client, c.inspected) for c in containers(world, unit)
        }
    finally:
        client.close()


def _portrait(client: docker.DockerClient, inspected: Mapping[str, Any]) -> dict[str, Any]:
    config, host = inspected["Config"], inspected["HostConfig"]
    pieces, _ = client.api.get_archive(inspected["Id"], CONFIG)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        files = {m.name: (m.mode, f.read()) for m in tar if (f := tar.extractfile(m)) is not None}
    return {
        "image": inspected["Image"],
        "command": [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())],
        "environment": sorted(config["Env"]),
        "memory": host["Memory"],
        "mounts": sorted((m["Source"], m["Destination"]) for m in inspected["Mounts"]),
        "files": files,
    }


def release_of(world: World, unit: UnitId = DEV) -> Release:
    """The one that the unit is on, by our own word."""
    (status,) = world.service().status(unit)
    return world.service().release(status.release)


def assert_whole(world: World, word: str, unit: UnitId = DEV, *, replicas: int = 2) -> None:
    """What runs is what status says, all of it and nothing else; customers get ``word``."""
    release = release_of(world, unit)
    running = containers(world, unit)
    wanted = f"{unit.slug}-{short(release.digest)}"
    assert [(c.role, c.generation) for c in running] == [
        *[("web", wanted)] * replicas, ("worker", wanted)
    ]  # fmt: skip
    assert world.service().drift(unit) == ()
    assert page(world.ports[unit]) == (200, word)
    assert not (world.spool(unit) / "double").exists(), "two workers ran at once"
