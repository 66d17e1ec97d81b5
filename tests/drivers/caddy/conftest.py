"""A real Caddy, real upstream processes, and the load from a process of its own."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.unit import UnitId
from lastgood.drivers.caddy.driver import CaddyDriver
from lastgood.drivers.caddy.settings import Settings
from lastgood.ports.traffic import Destination
from lastgood.testing.caddy_server import CaddyServer, caddy, free_port

UPSTREAM = Path(__file__).with_name("upstream.py")


@contextmanager
def upstream(name: str) -> Iterator[Destination]:
    process = subprocess.Popen([sys.executable, str(UPSTREAM), name], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Destination(name, (process.stdout.readline().decode().strip(),))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclass
class Lab:
    """One unit on one Caddy."""

    server: CaddyServer
    pointers: Path
    unit: UnitId = field(default_factory=lambda: UnitId("storefront", "prod", "us"))
    listen: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")

    def build(self, **settings: Any) -> CaddyDriver:
        base = {"admin": self.server.admin, "listen": self.listen, "pointers": str(self.pointers)}
        return CaddyDriver(Settings.of(self.unit, {**base, **settings}))

    def ask(self, path: str = "/") -> tuple[int, str]:
        status, _, body = self.response(path)
        return status, body.split()[0] if body.split() else ""

    def response(self, path: str = "/") -> tuple[int, dict[str, str], str]:
        host, _, port = self.listen.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def beside(self, service: str) -> Lab:
        return Lab(self.server, self.pointers, UnitId(service, "prod", "us"))

    def config(self, method: str = "GET", path: str = "", value: Any = None) -> Any:
        host, _, port = self.server.admin.removeprefix("http://").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            body = None if value is None else json.dumps(value)
            connection.request(method, f"/config/{path}", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            return json.loads(text) if text else None
        finally:
            connection.close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with caddy(tmp_path) as server:
        yield Lab(server, tmp_path / "pointers")


@pytest.fixture(scope="session")
def red() -> Iterator[Destination]:
    with upstream("red") as destination:
        yield destination


@pytest.fixture(scope="session")
def blue() -> Iterator[Destination]:
    with upstream("blue") as destination:
        yield destination


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "the condition was not met in 10 s"
            time.sleep(0.01)

    return wait
