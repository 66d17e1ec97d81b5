"""A real HAProxy, real upstream processes behind it, and a customer."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.unit import UnitId
from lastgood.drivers.haproxy.driver import HaproxyDriver
from lastgood.drivers.haproxy.servers import View
from lastgood.drivers.haproxy.settings import Settings
from lastgood.ports.traffic import Destination
from lastgood.testing.caddy_server import free_port
from lastgood.testing.haproxy_server import Backend, HaproxyServer, haproxy

UPSTREAM = Path(__file__).with_name("upstream.py")
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
STICKY = ("cookie SRV insert indirect nocache dynamic", "dynamic-cookie-key test")


@contextmanager
def upstream(name: str, host: str = "127.0.0.1") -> Iterator[str]:
    """The address of one instance."""
    process = subprocess.Popen([sys.executable, str(UPSTREAM), name, host], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def generation(name: str, *hosts: str) -> Iterator[Destination]:
    """One instance on each host."""
    with ExitStack() as stack:
        addresses = [stack.enter_context(upstream(name, host)) for host in hosts]
        yield Destination(name, tuple(sorted(addresses)))


@dataclass
class Customer:
    """One keep-alive connection, with a jar for the cookie."""

    listen: str
    cookie: str = ""

    def __post_init__(self) -> None:
        host, _, port = self.listen.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=10)

    def ask(self, path: str = "/") -> tuple[int, str]:
        """Status, and the generation that answered."""
        self._connection.request("GET", path, headers={"Cookie": self.cookie} if self.cookie else {})
        answer = self._connection.getresponse()
        if found := answer.getheader("Set-Cookie"):
            self.cookie = found.split(";")[0]
        body = answer.read().decode().split()
        return answer.status, body[0] if answer.status < 500 and body else ""

    def close(self) -> None:
        self._connection.close()


@dataclass
class Open:
    """A request that stays open: a long poll or a WebSocket."""

    connection: socket.socket

    def is_open(self) -> bool:
        """Not once anything came: a poll's answer, or the end."""
        self.connection.setblocking(False)
        try:
            self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def echoes(self, text: bytes) -> bool:
        self.connection.settimeout(5)
        self.connection.sendall(text)
        return self.connection.recv(len(text)) == text

    def leave(self) -> None:
        self.connection.close()


@dataclass
class Lab:
    """One unit on one HAProxy; nothing is served before ``serve``."""

    server: HaproxyServer
    state: Path
    unit: UnitId = field(default_factory=lambda: UnitId("storefront", "prod", "us"))
    listen: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    opened: list[Open] = field(default_factory=list)

    def settings(self, **changes: Any) -> Settings:
        base = {"sockets": [str(self.server.socket)], "listen": self.listen, "state": str(self.state)}
        return Settings.of(self.unit, {**base, **changes})

    def serve(self, *lines: str, **changes: Any) -> None:
        """``lines`` come into the backend, ``changes`` are those of ``Backend``."""
        self.server.serve(Backend(self.settings(), lines=lines, **changes))

    def build(self, **changes: Any) -> HaproxyDriver:
        return HaproxyDriver(self.settings(**changes))

    def ask(self, path: str = "/") -> tuple[int, str]:
        """As a customer who never was here."""
        customer = Customer(self.listen)
        try:
            return customer.ask(path)
        finally:
            customer.close()

    def open(self, path: str) -> Open:
        """Opens a request and returns when its server has it."""
        before = self.sessions()
        host, _, port = self.listen.rpartition(":")
        connection = socket.create_connection((host, int(port)), 10)
        self.opened.append(Open(connection))
        more = UPGRADE if path == "/socket" else ""
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        if path == "/socket":
            assert b" 101 " in connection.recv(4096)
        eventually(lambda: self.sessions() > before)
        return self.opened[-1]

    def look(self) -> View:
        return self.build()._apis[0].look()

    def sessions(self) -> int:
        return sum(server.sessions for server in self.look().servers.values())

    def tell(self, *commands: str) -> None:
        """What somebody does by hand, ``{b}`` being the backend."""
        for command in commands:
            self.server.ask(command.format(b=self.unit.slug))


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in 10 s"
        time.sleep(0.005)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Lab]:
    """Nothing runs yet."""
    with haproxy(tmp_path) as server:
        lab = Lab(server, tmp_path / "state")
        yield lab
        for request in lab.opened:
            request.leave()


@pytest.fixture
def lab(bare: Lab) -> Lab:
    """HAProxy serves the unit with eight free slots."""
    bare.serve()
    return bare


@pytest.fixture(scope="session")
def red() -> Iterator[Destination]:
    with generation("red", "127.0.0.1", "127.0.0.2") as destination:
        yield destination


@pytest.fixture(scope="session")
def blue() -> Iterator[Destination]:
    with generation("blue", "127.0.0.1", "127.0.0.3") as destination:
        yield destination


@pytest.fixture(scope="session")
def green() -> Iterator[Destination]:
    with generation("green", "127.0.0.1", "127.0.0.1") as destination:
        yield destination
