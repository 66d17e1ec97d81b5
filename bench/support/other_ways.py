"""How else containers go back to the image before: by hand, with docker-compose, with a swarm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from bench.support.image_world import OLD, ImageWorld
from bench.support.runners import wait_for
from lastgood.testing.caddy_server import free_port
from lastgood.testing.docker_engine import EngineFailed

NUMBERS = (1, 2)
GATEWAY = "docker_gwbridge"


class OtherWay(Protocol):
    """Two containers of one image; they listen where the world's other backend has its servers."""

    def begin(self) -> None:
        """Have ``OLD`` run."""

    def go(self, word: str) -> None:
        """What one types to have ``word`` run; it may end before that is so."""

    def settle(self) -> None:
        """Wait until it is at rest."""

    def end(self) -> None:
        """Leave nothing."""


class ByHand:
    """``docker stop``, ``docker rm``, ``docker run``: all at once, or one container after the other."""

    def __init__(self, world: ImageWorld, *, rolling: bool) -> None:
        self._world = world
        self._rounds: Sequence[Sequence[int]] = [[n] for n in NUMBERS] if rolling else [NUMBERS]

    def begin(self) -> None:
        for number in NUMBERS:
            self._run(number, OLD)

    def go(self, word: str) -> None:
        docker = self._world.engine.docker
        for numbers in self._rounds:
            names = [f"web{number}" for number in numbers]
            docker("stop", *names)
            docker("rm", *names)
            for number in numbers:
                self._run(number, word)

    def settle(self) -> None:
        """It is when the last command has ended."""

    def end(self) -> None:
        self._world.engine.docker("rm", "--force", *(f"web{number}" for number in NUMBERS))

    def _run(self, number: int, word: str) -> None:
        port = f"PORT={self._world.base + number}"
        where = ("--name", f"web{number}", "--network", "host", "--env", port)
        self._world.engine.docker("run", "--detach", *where, self._world.image(word))


class Compose:
    """``up -d`` with another tag in the file: as it comes, or the second service after the first."""

    def __init__(self, world: ImageWorld, command: Sequence[str], *, rolling: bool) -> None:
        self._world, self._command, self._rolling = world, command, rolling
        self._file = world.root / "docker-compose.json"

    def begin(self) -> None:
        self.go(OLD)

    def go(self, word: str) -> None:
        self._file.write_text(json.dumps({"version": "3.8", "services": self._services(word)}))
        if not self._rolling:
            self._compose("up", "-d")
        else:
            for name in self._services(word):
                self._compose("up", "-d", name)

    def settle(self) -> None:
        """It is when the command has ended."""

    def end(self) -> None:
        self._compose("down", "--timeout", "1")

    def _services(self, word: str) -> dict[str, object]:
        image = self._world.image(word)
        return {
            f"web{n}": {"image": image, "network_mode": "host", "environment": {"PORT": self._world.base + n}}
            for n in NUMBERS
        }

    def _compose(self, *arguments: str) -> None:
        command = [*self._command, "--file", str(self._file), "--project-name", "page", *arguments]
        done = subprocess.run(command, env=self._world.engine.environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-1000:]}")


def compose_command(world: ImageWorld) -> list[str]:
    """``docker compose`` where it is there, else ``docker-compose``; empty when neither is."""
    try:
        world.engine.docker("compose", "version")
    except EngineFailed:
        found = shutil.which("docker-compose")
        return [found] if found else []
    return ["docker", "compose"]


class Swarm:
    """A service of two tasks, one updated after the other.

    Its own load balancer needs a module that not every kernel has; its tasks listen in the network of the
    machine, behind the same HAProxy as the others. ``health`` is what its health check asks for, four times a
    second. Each updated task is watched for ``watch``, with ``health`` before the next one is touched.
    """

    def __init__(self, world: ImageWorld, *, watch: str = "1s", health: str = "") -> None:
        self._world, self._watch, self._health = world, watch, health

    def begin(self) -> None:
        checks = ["--no-healthcheck"]
        if self._health:
            checks = ["--health-cmd", f"/server probe {self._health}", "--health-interval", "250ms"]
            checks += ["--health-retries", "1", "--health-timeout", "1s"]
        self._docker(
            *("service", "create", "--detach", "--name", "page", "--replicas", "2", "--network", "host"),
            *("--env", f"PORT={self._world.base // 10}{{{{.Task.Slot}}}}", "--stop-grace-period", "2s"),
            *("--update-parallelism", "1", "--update-monitor", self._watch),
            *("--update-delay", self._watch if self._health else "0s"),
            *("--rollback-parallelism", "1", "--rollback-delay", "0s", "--rollback-monitor", "1s"),
            *("--update-failure-action", "rollback"),
            *checks,
            self._world.image(OLD),
        )
        self._world.until_others_serve(OLD)

    def go(self, word: str) -> None:
        if word == OLD:
            self._docker("service", "update", "--detach", "--rollback", "page")
        else:
            self._docker("service", "update", "--detach", "--image", self._world.image(word), "page")

    def settle(self) -> None:
        over = ("completed", "rollback_completed", "paused", "rollback_paused")
        wait_for(lambda: self.state() in over, 60, 0.05)

    def state(self) -> str:
        asked = "{{with .UpdateStatus}}{{.State}}{{end}}"
        return self._docker("service", "inspect", "--format", asked, "page")

    def end(self) -> None:
        self._docker("service", "rm", "page")
        mine = "label=com.docker.swarm.service.name=page"
        wait_for(lambda: not self._docker("ps", "--quiet", "--filter", mine))

    def _docker(self, *arguments: str) -> str:
        return self._world.engine.docker(*arguments)


@contextmanager
def swarm(world: ImageWorld) -> Iterator[None]:
    """The engine is a swarm of one as long as the block."""
    docker = world.engine.docker
    # Made by the swarm, its bridge would bear a name that all engines of a machine share.
    docker("network", "create", "--subnet", world.engine.spare_net, GATEWAY)
    listen = f"127.0.0.1:{free_port()}"
    docker("swarm", "init", "--advertise-addr", listen, "--listen-addr", listen)
    try:
        yield
    finally:
        docker("swarm", "leave", "--force")
        docker("network", "rm", GATEWAY)
