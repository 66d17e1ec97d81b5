"""Starts Debian's docker-registry for tests, the demonstration and benchmarks."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import re
import ssl
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from lastgood.testing.registry_tokens import TokenServer, make_certificate, token_server

EXECUTABLE = "/usr/bin/docker-registry"
START_TIMEOUT = 15.0
USER, PASSWORD = "ci", "opens-the-registry"
_LISTENING = re.compile(r"listening on (?P<address>[0-9.]+:[0-9]+)")


@dataclass
class RegistryServer:
    """A registry on 127.0.0.1. ``address`` is host:port, the same again after a restart.

    ``user`` and ``password`` are empty when it is open to all; ``tokens`` gives out the tokens, when it asks
    for them; ``certificate`` is its own (and the authority that vouches for it) when it talks HTTPS.
    """

    directory: Path
    address: str = ""
    user: str = ""
    password: str = ""
    tokens: TokenServer | None = None
    certificate: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.directory / "registry.log"

    @property
    def pid(self) -> int:
        """0 when it doesn't run."""
        return self._process.pid if self._process is not None else 0

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self.address}"

    def client(self) -> httpx.Client:
        """A client that may push; to be closed."""
        auth: httpx.Auth | None = None
        if self.tokens is not None:
            auth = _WithToken(self.tokens)
        elif self.user:
            auth = httpx.BasicAuth(self.user, self.password)
        verify = ssl.create_default_context(cafile=self.certificate) if self.certificate else False
        return httpx.Client(base_url=self.url, auth=auth, verify=verify, trust_env=False, timeout=30)

    def start(self) -> None:
        """Returns when it answers; takes the port it had before, the kernel's choice the first time."""
        settings = json.loads(json.dumps(self.settings))
        settings["http"]["addr"] = self.address or "127.0.0.1:0"
        config = self.directory / "config.yml"
        config.write_text(json.dumps(settings))
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [EXECUTABLE, "serve", str(config)],
                cwd=self.directory,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.directory)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.address = self._wait(offset)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 5 s; what was pushed stays."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def blob(self, digest: str) -> Path:
        """The file of a blob, to be damaged or removed."""
        digits = digest.removeprefix("sha256:")
        return self.directory / f"data/docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"

    def requests(self) -> list[str]:
        """``GET /v2/…`` of every request that was answered, oldest first."""
        found = []
        for line in self.log.read_text().splitlines():
            said = json.loads(line) if line.startswith("{") else {}
            if said.get("msg") == "response completed":
                found.append(f"{said['http.request.method']} {said['http.request.uri']}")
        return found

    def _wait(self, offset: int) -> str:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            with self.log.open("rb") as log:
                log.seek(offset)
                said = log.read().decode()
            if found := _LISTENING.search(said):
                return found["address"]
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"the registry did not start:\n{said[-2000:]}")
            time.sleep(0.01)
        self.kill()
        raise RuntimeError(f"the registry was not ready in {START_TIMEOUT:g} s:\n{said[-2000:]}")


class _WithToken(httpx.Auth):
    """Asks the token server for whatever the registry says it wants."""

    def __init__(self, tokens: TokenServer) -> None:
        self._tokens = tokens

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            scope = re.search(r'scope="([^"]*)"', answer.headers["WWW-Authenticate"])
            request.headers["Authorization"] = f"Bearer {self._tokens.issue(scope[1] if scope else '')}"
            yield request


def open_registry(home: Path) -> RegistryServer:
    """One that is open to all, its files in ``home``, not started yet."""
    home.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(home / "data")}, "delete": {"enabled": True}},
        "http": {"secret": "shared-by-all-restarts"},
    }
    return RegistryServer(home, settings=settings)


@contextmanager
def registry(
    directory: Path, *, auth: str = "", tls: bool = False, user: str = USER, password: str = PASSWORD
) -> Iterator[RegistryServer]:
    """A registry with what was pushed under ``directory``; stopped by pid at the end.

    ``auth``: ``""`` (open to all), ``basic`` or ``token``; ``tls``: HTTPS with a certificate of its own.
    """
    server = open_registry(directory / "registry")
    home, settings = server.directory, server.settings
    with ExitStack() as stack:
        if auth:
            server.user, server.password = user, password
        if auth == "basic":
            (home / "htpasswd").write_text(f"{user}:{_bcrypt(password)}\n")
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(home / "htpasswd")}}
        elif auth == "token":
            server.tokens = stack.enter_context(token_server(home, user, password))
            settings["auth"] = {"token": server.tokens.settings()}
        if tls:
            key, server.certificate = make_certificate(home, "tls")
            settings["http"]["tls"] = {"certificate": str(server.certificate), "key": str(key)}
        server.start()
        stack.callback(server.stop)
        yield server


def _bcrypt(password: str) -> str:
    """As htpasswd writes it: the only kind that the registry reads."""
    library = ctypes.CDLL(ctypes.util.find_library("crypt"))
    library.crypt.restype = ctypes.c_char_p
    salt = "$2y$05$" + "abcdefghijklmnopqrstuu"
    hashed: bytes = library.crypt(password.encode(), salt.encode())
    return hashed.decode()
