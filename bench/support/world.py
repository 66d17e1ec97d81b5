"""A small real world: one service behind a real Caddy, as real processes, with its estate in Git."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from bench.support.driven import Driven
from bench.support.runners import wait_for
from lastgood.bootstrap.service import Service
from lastgood.domain.rollout import Rollout
from lastgood.domain.unit import UnitId
from lastgood.testing.caddy_server import caddy, free_port

UNIT = UnitId("page", "dev", "us")

APP = """
import asyncio, os, signal, sys
if sys.argv[1] == "worker":
    signal.pause()
WORD = open(os.path.join(os.environ["LASTGOOD_CONFIG"], "word")).read().strip().encode()
HEAD = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(WORD)

class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.seen = transport, b""
    def data_received(self, data):
        self.seen += data
        while b"\\r\\n\\r\\n" in self.seen:
            self.seen = self.seen.partition(b"\\r\\n\\r\\n")[2]
            self.transport.write(HEAD + WORD)

async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", int(sys.argv[2]))
    await server.serve_forever()

asyncio.run(main())
"""

ESTATE = """
name: bench
environments: [{name: dev}]
sites: {us: {region: us-east}}
drivers:
  files: {root: "%(root)s/files"}
  process: {root: "%(root)s/process"}
  caddy: {admin: "%(admin)s", pointers: "%(root)s/pointers"}
"""

SERVICE = """
owner: team-bench
artifact: {path: app}
runtime: process
traffic: {driver: caddy, listen: "127.0.0.1:%(port)s"}
roles:
  web:
    command: ["%(python)s", "-BS", "{artifact}/app.py", web, "{port}"]
    ready: {path: /healthz, timeout: 10s}
    stop_grace: 2s
  worker:
    command: ["%(python)s", "-BS", "{artifact}/app.py", worker]
    stop_grace: 2s
signals: {page: {kind: ratio, driver: http, path: /page}}
criteria: {page: {signal: page, limit: 0.9, window: 2s, least_sample: 2}}
windows: {watch: 0.5s, guard: %(guard)s, verify: 1s, recovery: 1m}
"""


@dataclass
class World(Driven):
    """``root`` holds everything; ``admin`` is Caddy's address; customers come to ``port``."""

    root: Path
    admin: str
    port: int = field(default_factory=free_port)
    generation: int = 0
    unit: UnitId = UNIT

    def __post_init__(self) -> None:
        for name in ("files", "process", "pointers", "estate"):
            (self.root / name).mkdir()
        self._git("init", "-q", "-b", "main")
        self._write("lastgood.yaml", ESTATE % {"root": self.root, "admin": self.admin})
        self._write("services/page/app/app.py", APP)
        self._write("services/page/templates/word.j2", "{{ values.word }}\n")
        self.service = Service(self.places)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/page"

    @property
    def word(self) -> str:
        """What the newest generation answers."""
        return f"generation{self.generation}"

    def deploy(self, guard: str) -> Rollout:
        """Commit the next generation and deploy it; returns at once."""
        self.generation += 1
        self._write("services/page/values.yaml", f"word: {self.word}\n")
        parts = {"python": sys.executable, "port": self.port, "guard": guard}
        self._write("services/page/service.yaml", SERVICE % parts)
        self._git("add", "-A")
        self._git("-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-qm", self.word)
        return self.service.deploy(UNIT, reason="bench", owner="team-bench", impact="none")

    def start_times(self, count: int) -> list[float]:
        """Milliseconds from the start of the service's process to its first answer, without lastgood."""
        config = self.root / "alone"
        config.mkdir()
        (config / "word").write_text("alone\n")
        app = self.root / "estate" / "services" / "page" / "app" / "app.py"
        found = []
        for _ in range(count):
            port = free_port()
            command = [sys.executable, "-BS", str(app), "web", str(port)]
            begin = time.perf_counter()
            process = subprocess.Popen(command, env={**os.environ, "LASTGOOD_CONFIG": str(config)})
            wait_for(partial(_answers, port), 10, 0.002)
            found.append((time.perf_counter() - begin) * 1000)
            process.kill()
            process.wait()
        return found

    def _write(self, path: str, text: str) -> None:
        file = self.root / "estate" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"))

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root / "estate", check=True, capture_output=True)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def world(root: Path) -> Iterator[World]:
    """The world in ``root``; whatever names that directory is ended by pid."""
    with caddy(root) as server:
        try:
            yield World(root, server.admin)
        finally:
            end_all(root)


def end_all(root: Path) -> None:
    """End the runner and every generation that live in ``root``."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            state = process.environ().get("LASTGOOD_STATE", "")
            mine = str(root) in " ".join(process.cmdline()) or state.startswith(str(root))
            if mine and process.pid != os.getpid():
                process.send_signal(signal.SIGKILL)
