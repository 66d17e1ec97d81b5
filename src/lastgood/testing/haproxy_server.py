"""Starts the real HAProxy of the system for tests, the demonstration and benchmarks.

Nothing listens anywhere but on 127.0.0.1 and a unix socket. The backends are written with the very lines that
the driver asks its users to write.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood.domain.unit import UnitId
from lastgood.drivers.haproxy.settings import Settings
from lastgood.drivers.haproxy.snippet import backend_lines, slot_line
from lastgood.testing.caddy_server import free_port

START_TIMEOUT = 15.0
HEADER = """\
global
    stats socket {socket} mode 600 level admin expose-fd listeners
    stats socket ipv4@{tcp} level admin
    maxconn 2000
    nbthread 2
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
"""


def executable() -> str:
    """Path of the binary; raises FileNotFoundError when HAProxy is not installed."""
    found = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError("haproxy: install the package 'haproxy'")
    return found


@dataclass(frozen=True)
class Backend:
    """A unit's frontend and backend. ``lines`` are put at the backend's end; ``check`` is how often the slots
    are checked, as HAProxy writes it.
    """

    settings: Settings
    lines: tuple[str, ...] = ()
    slots: int = 8
    check: str = "inter 50ms"

    def text(self) -> str:
        asked = backend_lines(self.settings)
        changed = (*asked[:-1], f"    {slot_line(self.settings, self.slots, self.check)}")
        return "\n".join(
            (
                f"frontend {self.settings.backend}.front",
                f"    bind {self.settings.listen}",
                f"    default_backend {self.settings.backend}",
                *changed,
                *(f"    {line}" for line in self.lines),
                "",
            )
        )


def backend(unit: UnitId, settings: Mapping[str, Any]) -> Backend:
    """A unit's, by the settings of the driver."""
    return Backend(Settings.of(unit, settings))


@dataclass
class HaproxyServer:
    """One HAProxy. ``socket`` is the path of its runtime API, ``tcp`` the same as host:port; ``log`` has what
    it says. With ``master_worker`` it is a master with a worker, as under systemd; else one process.
    """

    directory: Path
    socket: Path
    tcp: str
    master_worker: bool = True
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _older: list[subprocess.Popen[bytes]] = field(default_factory=list, repr=False)

    @property
    def config(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def log(self) -> Path:
        return self.directory / "haproxy.log"

    @property
    def pid(self) -> int:
        """0 when it doesn't run."""
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def serve(self, *backends: Backend) -> None:
        """Have exactly these: starts HAProxy, or reloads the one that runs."""
        self.serve_text("".join(backend.text() for backend in backends))

    def serve_text(self, sections: str) -> None:
        """The same with sections of haproxy.cfg as they are."""
        self.config.write_text(HEADER.format(socket=self.socket, tcp=self.tcp) + sections)
        if self.running:
            self.reload()
        else:
            self.start()

    def start(self) -> None:
        """Returns when the runtime API answers."""
        self._process = self._spawn()
        self._until(lambda: self._answering() != "" and self._takes_signals())

    def reload(self) -> None:
        """Returns when a new process answers; the old one goes on with what is open. Raises RuntimeError when
        HAProxy keeps the old one, as it does with a configuration that is wrong.
        """
        assert self._process is not None
        before = self._answering()
        if self.master_worker:
            self._process.send_signal(signal.SIGUSR2)
        else:
            self._older.append(self._process)
            self._process = self._spawn("-x", str(self.socket), "-sf", str(self._process.pid))
        self._until(lambda: self._answering() not in ("", before) and self._takes_signals())

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after 5 s."""
        if self._process is None:
            return
        children = self._children()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end(children)

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        if self._process is None:
            return
        children = self._children()
        self._process.kill()
        self._process.wait()
        self._end(children)

    def restart(self) -> None:
        """Killed and started again: whatever was not in a file is forgotten."""
        self.kill()
        self.start()

    def ask(self, command: str) -> str:
        """What the runtime API answers. Raises OSError."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            connection.sendall(command.encode() + b"\n")
            answer = b""
            while part := connection.recv(65536):
                answer += part
            return answer.decode()

    def _spawn(self, *more: str) -> subprocess.Popen[bytes]:
        mode = ["-W"] if self.master_worker else []
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [executable(), *mode, "-db", "-f", str(self.config), *more],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answering(self) -> str:
        """Pid of the process that answers and is not about to stop, empty when none is."""
        try:
            lines = self.ask("show info").splitlines()
        except OSError:
            return ""
        facts = dict(line.split(": ", 1) for line in lines if ": " in line)
        return facts.get("Pid", "") if facts.get("Stopping") == "0" else ""

    def _takes_signals(self) -> bool:
        """A master ignores the signal to reload until it is through with its own start."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        masks = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Sig"))
        reload = 1 << (signal.SIGUSR2 - 1)
        caught = int(masks["SigCgt"], 16) & ~int(masks["SigBlk"], 16) & reload
        return bool(caught) or not self.master_worker

    def _children(self) -> list[int]:
        assert self._process is not None
        pid = self._process.pid
        try:
            return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def _end(self, children: list[int]) -> None:
        """Workers and older processes end by themselves, but not at once where something is open."""
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for process in self._older:
            process.kill()
            process.wait()
        self._process, self._older = None, []

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not condition():
            if not self.running or time.monotonic() > deadline:
                said = self.log.read_text()[-3000:]
                raise RuntimeError(f"HAProxy did not start or reload:\n{said}")
            time.sleep(0.005)


@contextmanager
def haproxy(directory: Path, *, master_worker: bool = True) -> Iterator[HaproxyServer]:
    """One that is ready to ``serve``, its files under ``directory``; stopped by pid at the end."""
    home = directory / "haproxy"
    home.mkdir(parents=True, exist_ok=True)
    # The path of a unix socket is limited to 107 bytes, and HAProxy adds a suffix while it binds.
    with tempfile.TemporaryDirectory(prefix="lastgood-") as short:
        server = HaproxyServer(home, Path(short) / "api.sock", f"127.0.0.1:{free_port()}", master_worker)
        try:
            yield server
        finally:
            server.stop()
