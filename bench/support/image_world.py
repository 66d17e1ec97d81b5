"""A small real world with images: an engine, a registry and HAProxy, and one service of two containers.

The ways that are compared run the same images with the same health check behind the same HAProxy.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.support.driven import Driven
from bench.support.runners import wait_for
from lastgood.bootstrap.service import Service
from lastgood.domain.rollout import Rollout
from lastgood.domain.unit import UnitId
from lastgood.drivers.haproxy.settings import Settings
from lastgood.testing.caddy_server import free_port
from lastgood.testing.docker_engine import DockerEngine, docker_engine
from lastgood.testing.haproxy_server import Backend, HaproxyServer, haproxy
from lastgood.testing.images import ImageBuild, push
from lastgood.testing.registry_server import RegistryServer, registry

UNIT = UnitId("page", "dev", "us")
OLD, SLOW, NEW, LATE = "old", "slow", "new", "late"
IMAGES: Mapping[str, Mapping[str, str]] = {
    OLD: {},
    SLOW: {"START_MS": "1000"},
    NEW: {},
    LATE: {"TIRES": "100"},
}
"""By tag, which is also the word that each answers: ``slow`` needs a second until it listens, ``late``
answers 500 from its hundredth request on.
"""
CHECK = "inter 100ms fall 2 rise 1"
"""How HAProxy asks each server for ``/healthz``, whoever runs it."""
LINES = ("option httpchk GET /healthz", "option redispatch 1", "retries 3",
         "retry-on conn-failure empty-response")  # fmt: skip
"""At every backend, ours and others': HAProxy helps all of them as well as it can."""

SERVICE: Mapping[str, Any] = {
    "owner": "team-bench",
    "image": "{{ values.image }}",
    "runtime": {"driver": "docker", "memory": "64m"},
    "roles": {"web": {"replicas": 2, "ready": {"path": "/healthz", "timeout": "10s"}, "stop_grace": "2s"}},
    "signals": {"page": {"kind": "ratio", "driver": "haproxy"}},
    "criteria": {"page": {"signal": "page", "limit": 0.95, "window": "500ms", "least_sample": 10}},
}


@dataclass
class ImageWorld(Driven):
    """``root`` holds estate and state; customers come to ``port``.

    Those of another way come to ``other_port``, and its two servers listen on ``base`` + 1 and + 2.
    """

    root: Path
    engine: DockerEngine
    registry: RegistryServer
    proxy: HaproxyServer
    port: int = field(default_factory=free_port)
    other_port: int = field(default_factory=free_port)
    base: int = field(default_factory=lambda: free_base())
    unit: UnitId = UNIT

    def __post_init__(self) -> None:
        program = compiled()
        for word, told in IMAGES.items():
            env = {"TEXT": word, **told}
            build = ImageBuild(["/server"], env, {"/server": (program, 0o755)}, ports=[8080])
            push(self.registry, f"shop/page:{word}", build)
            self.engine.docker("pull", "--quiet", self.image(word))
        for name in ("estate", "haproxy-state"):
            (self.root / name).mkdir()
        self.proxy.serve_text(Backend(self._settings(), LINES, check=CHECK).text() + self._others())
        self._git("init", "-q", "-b", "main")
        self._write("lastgood.yaml", self._estate())
        self.service = Service(self.places)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/page"

    @property
    def other_url(self) -> str:
        return f"http://127.0.0.1:{self.other_port}/page"

    def image(self, word: str) -> str:
        """Its name, as an engine pulls it."""
        return f"{self.registry.address}/shop/page:{word}"

    def deploy(self, word: str, guard: str, *, watch: str = "500ms", canary: int = 0) -> Rollout:
        """Commit an image and deploy it, after a share of ``canary`` percent; returns at once."""
        windows = {"watch": watch, "guard": guard, "verify": "500ms", "recovery": "1m"}
        shares = {"canary": [{"percent": canary, "watch": "3s"}]} if canary else {}
        traffic = {"driver": "haproxy", "listen": f"127.0.0.1:{self.port}"}
        self._write(
            "services/page/service.yaml", {**SERVICE, **shares, "windows": windows, "traffic": traffic}
        )
        self._write("services/page/values.yaml", {"image": self.image(word)})
        self._git("add", "-A")
        self._git("commit", "-q", "--allow-empty", "-m", word)
        return self.service.deploy(UNIT, reason="bench", owner="team-bench", impact="none")

    def forgive(self, failed: str) -> None:
        """Have the unit and its image as free as before ``failed``."""
        self.service.unfreeze(UNIT, "bench")
        self.service.quarantines.lift(f"in-{failed}", "bench")

    def until_others_serve(self, word: str, seconds: float = 60.0) -> None:
        """Wait until every customer of the other way gets ``word``."""
        wait_for(lambda: _all_say(self.other_port, word), seconds, 0.02)

    def _settings(self) -> Settings:
        return Settings.of(UNIT, {"listen": f"127.0.0.1:{self.port}", **self._estate()["drivers"]["haproxy"]})

    def _others(self) -> str:
        lines = (
            *("mode http", "balance roundrobin", *LINES),
            *(f"server web{n} 127.0.0.1:{self.base + n} check {CHECK}" for n in (1, 2)),
        )
        front = f"frontend others\n    bind 127.0.0.1:{self.other_port}\n    default_backend others.back\n"
        return front + "".join(f"{line}\n" for line in ("backend others.back", *(f"    {x}" for x in lines)))

    def _estate(self) -> dict[str, Any]:
        proxy = {"sockets": [str(self.proxy.socket)], "state": str(self.root / "haproxy-state")}
        return {
            "name": "bench",
            "environments": [{"name": "dev"}],
            "sites": {"us": {}},
            "drivers": {"docker": {"host": self.engine.host, "network": "host"}, "haproxy": proxy},
        }

    def _write(self, path: str, content: Mapping[str, Any]) -> None:
        """A file of the estate; JSON is YAML."""
        file = self.root / "estate" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=1) + "\n")

    def _git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        command = ["git", *identity, *arguments]
        subprocess.run(command, cwd=self.root / "estate", check=True, capture_output=True)


def _all_say(port: int, word: str) -> bool:
    """Whether twenty customers in a row get ``word``."""
    return all(_says(port, "/page") == word for _ in range(20))


def _says(port: int, path: str) -> str:
    """What one customer gets; empty when it is no good answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read().decode().strip() if answer.status == 200 else ""
    except OSError:
        return ""
    finally:
        connection.close()


def milliseconds_to_answers(act: Callable[[], object], ports: tuple[int, ...]) -> float:
    """From the beginning of ``act`` until there was a good answer at each of ``ports``."""
    begin = time.perf_counter()
    act()
    for port in ports:
        wait_for(lambda port=port: _says(port, "/healthz"), 20, 0.002)  # type: ignore[misc]
    return (time.perf_counter() - begin) * 1000


def free_base() -> int:
    """A port ending in 0 whose next two are free, below those that the kernel gives away."""
    while True:
        base = random.randrange(1100, 3200) * 10
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("0.0.0.0", base + 1))
                second.bind(("0.0.0.0", base + 2))
            except OSError:
                continue
        return base


def compiled() -> bytes:
    """The program inside the images."""
    source = Path(__file__).with_name("server.c")
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "server"
        command = ["gcc", "-static", "-O2", "-s", "-Wall", "-Wextra", "-Werror", "-o", str(made), str(source)]
        subprocess.run(command, check=True)
        return made.read_bytes()


@contextmanager
def image_world(root: Path) -> Iterator[ImageWorld]:
    """The world in ``root``, as root: it has an engine of its own."""
    with docker_engine() as engine, registry(root) as shelf, haproxy(root) as proxy:
        yield ImageWorld(root, engine, shelf, proxy)
