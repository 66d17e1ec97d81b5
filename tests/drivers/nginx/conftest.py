"""A real nginx, and real upstream processes behind it."""

from __future__ import annotations

import http.client
import select
import socket
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
from lastgood.drivers.nginx.driver import NginxDriver, create
from lastgood.ports.traffic import Destination
from lastgood.testing.caddy_server import free_port
from lastgood.testing.nginx_server import NginxServer, Site, nginx

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
class Held:
    """A request that was answered in part, as its customer sees it."""

    connection: socket.socket

    def is_open(self) -> bool:
        if not select.select([self.connection], [], [], 0)[0]:
            return True
        try:
            return bool(self.connection.recv(4096))
        except OSError:
            return False

    def echo(self, text: bytes) -> bytes:
        self.connection.sendall(text)
        return self.connection.recv(4096)

    def leave(self) -> None:
        self.connection.close()


@dataclass
class Lab:
    """One unit behind one nginx."""

    server: NginxServer
    unit: UnitId = field(default_factory=lambda: UnitId("storefront", "prod", "us"))
    listen: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")

    @property
    def site(self) -> Site:
        return Site(self.unit.slug, self.listen)

    @property
    def file(self) -> Path:
        return self.server.upstreams / f"{self.unit.slug}.conf"

    @property
    def location(self) -> Path:
        return self.server.upstreams / f"{self.unit.slug}.location"

    @property
    def link(self) -> Path:
        return self.server.upstreams / self.unit.slug

    def settings(self, **more: Any) -> dict[str, Any]:
        merged = {**self.server.settings(self.site), **more}
        return {key: value for key, value in merged.items() if value is not None}

    def build(self, **settings: Any) -> NginxDriver:
        return create(self.unit, self.settings(**settings), None)

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

    def hold(self, path: str = "/held") -> Held:
        """A request that has arrived at its upstream, and stays open."""
        host, _, port = self.listen.rpartition(":")
        connection = socket.create_connection((host, int(port)), 10)
        upgrade = "Upgrade: echo\r\nConnection: upgrade\r\n" if path == "/socket" else ""
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n".encode())
        seen = b""
        while b"\r\n\r\n" not in seen or seen.endswith(b"\r\n\r\n"):
            seen += connection.recv(4096)
        return Held(connection)

    def beside(self, service: str) -> Lab:
        other = Lab(self.server, UnitId(service, "prod", "us"))
        self.server.serve(other.site)
        return other


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with nginx(tmp_path) as server:
        made = Lab(server)
        server.serve(made.site)
        yield made


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
