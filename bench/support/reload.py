"""The usual way to switch: a plain Caddy gets a configuration with the other upstream."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.support.traffic import Seen, under_load
from lastgood.testing.caddy_server import CaddyServer, caddy, executable, free_port

WORDS = ("left", "right")


class Plain:
    """A Caddy with one route, and two servers to send it to."""

    def __init__(self, root: Path, app: str, server: CaddyServer) -> None:
        self._root, self._app = root, app
        self._admin = server.admin.removeprefix("http://")
        self._port = free_port()
        self._upstreams: list[int] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Plain:
        file = self._root / "app.py"
        file.write_text(self._app)
        for word in WORDS:
            directory = self._root / word
            directory.mkdir()
            (directory / "word").write_text(word)
            port = free_port()
            self._upstreams.append(port)
            command = [sys.executable, "-BS", str(file), "web", str(port)]
            self._processes.append(subprocess.Popen(command, env={"LASTGOOD_CONFIG": str(directory)}))
        self.by_admin(0)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/page"

    def by_admin(self, side: int) -> None:
        """POST /load from a process that is at hand."""
        connection = http.client.HTTPConnection(self._admin, timeout=30)
        connection.request("POST", "/load", self._config(side), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(answer.read().decode())
        connection.close()

    def by_command(self, side: int) -> None:
        """``caddy reload``, as an administrator types it."""
        file = self._root / "caddy.json"
        file.write_bytes(self._config(side))
        command = [executable(), "reload", "--config", str(file), "--address", self._admin]
        subprocess.run(command, check=True, capture_output=True)

    def _config(self, side: int) -> bytes:
        proxy = {"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{self._upstreams[side]}"}]}
        server = {
            "listen": [f"127.0.0.1:{self._port}"],
            "automatic_https": {"disable": True},
            "routes": [{"handle": [proxy]}],
        }
        apps = {"http": {"servers": {"page": server}}}
        return json.dumps({"admin": {"listen": self._admin}, "apps": apps}).encode()


def switches(
    root: Path, app: str, way: Callable[[Plain, int], None], count: int, pause: float
) -> tuple[list[float], Seen]:
    """Milliseconds of each of ``count`` switches under one load, and what the load saw."""
    root.mkdir()
    with caddy(root) as server, Plain(root, app, server) as plain:

        def act() -> list[float]:
            begun = []
            for number in range(count):
                begun.append(time.time())
                way(plain, 1 - number % 2)
                time.sleep(pause)
            return begun

        seen, begun = under_load(plain.url, count * pause * 1.5 + 2, root, act)
    ends = [*begun[1:], begun[-1] + pause]
    took = [
        (seen.last_of(WORDS[number % 2], begin - pause / 2, end) - begin) * 1000
        for number, (begin, end) in enumerate(zip(begun, ends, strict=True))
    ]
    return took, seen
