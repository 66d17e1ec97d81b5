"""A real dockerd of one's own for tests, the demonstration and benchmarks, as root; many may run at once.

Each has its own data, socket, containerd, cgroup and bridge, and leaves the machine's firewall alone: what is
published goes through docker's own proxy, and is reached under 127.0.0.1; by containers under ``gateway``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
BRIDGE, BRIDGE_NET, SPARE_NET = "lgd{n}", "10.213.{n}.1/24", "10.214.{n}.0/24"
"""The kernel gives a name away once: who has made the interface has its subnets."""
PROGRAMS = ("dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy", "runc")
"""What an engine starts, with its directory in the arguments."""


class EngineFailed(Exception):
    """The engine could not be made, started or stopped; the text is the end of its own log."""


@dataclass
class DockerEngine:
    """A dockerd in ``directory``. ``number`` names its bridge and subnets; ``options`` are more flags."""

    directory: Path
    number: int
    options: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        return self.directory / "docker.sock"

    @property
    def host(self) -> str:
        """As ``DOCKER_HOST`` and the driver's setting ``host`` want it."""
        return f"unix://{self.socket}"

    @property
    def gateway(self) -> str:
        """The address under which containers reach this machine."""
        return BRIDGE_NET.format(n=self.number).partition("/")[0]

    @property
    def spare_net(self) -> str:
        """A subnet for a network of one's own: two engines that choose at once may choose the same."""
        return SPARE_NET.format(n=self.number)

    @property
    def log(self) -> Path:
        return self.directory / "dockerd.log"

    @property
    def pid(self) -> int:
        """0 when it doesn't run."""
        return next(iter(self._pids()), 0)

    @property
    def environment(self) -> dict[str, str]:
        """What the ``docker`` command needs to talk to this engine and to read nobody's settings."""
        return {**os.environ, "DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.directory / "cli")}

    def docker(self, *arguments: str, stdin: bytes = b"") -> str:
        """What the ``docker`` command answers; raises EngineFailed with its complaint."""
        command = ["docker", *arguments]
        done = subprocess.run(command, env=self.environment, input=stdin, capture_output=True)
        if done.returncode != 0:
            raise EngineFailed(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode(errors="replace").strip()

    def start(self) -> None:
        """Returns when it answers. Raises EngineFailed."""
        name = self.directory.name
        command = [
            *("dockerd", "--config-file", str(self.directory / "daemon.json"), "--host", self.host),
            *("--data-root", str(self.directory / "data"), "--exec-root", str(self.directory / "exec")),
            *("--pidfile", str(self.directory / "dockerd.pid"), "--cgroup-parent", f"/{name}"),
            *("--containerd-namespace", name, "--containerd-plugins-namespace", f"{name}-plugins"),
            *("--bridge", BRIDGE.format(n=self.number), "--iptables=false", "--ip-forward=false"),
            # Where systemd is asked for control groups, the parent would have to be a slice of its own.
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--shutdown-timeout", "5", *self.options),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._until(self._answers, "does not answer")

    def stop(self) -> None:
        """SIGTERM; containers stop with it (but for ``--live-restore``)."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; the containers go on. Returns when its containerd is gone too."""
        self._send(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """End it with all it started, and take away all it made."""
        self.end()
        shutil.rmtree(self.directory)

    def end(self) -> None:
        """End it with all it started; only its files stay. Safe to repeat, and from another process."""
        self.stop()
        self._until(lambda: not self._end_processes(), "still has processes")
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([m for m in mounts if m.startswith(f"{self.directory}/")]):
            subprocess.run(["umount", "--lazy", mount], capture_output=True)
        known = self.directory / "data" / "network" / "files" / "local-kv.db"
        networks = known.read_bytes() if known.exists() else b""
        for link in _bridges():
            name = str(link["ifname"])
            own = name.startswith("br-") and name.removeprefix("br-").encode() in networks
            if own or link.get("ifalias") == str(self.directory):
                _ip("link", "delete", name)
        for tree in (CGROUPS, *CGROUPS.glob("*/")):
            _remove_cgroups(tree / self.directory.name)

    # Within

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise EngineFailed(self._words())
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(2)
            connection.connect(str(self.socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(100)
        return False

    def _send(self, number: signal.Signals) -> None:
        pids = self._pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if self._process is not None:
            self._process.wait(60)
            self._process = None
        self._until(lambda: not self._pids(), "does not end")
        if pids:
            self._gone()

    def _pids(self) -> list[int]:
        """Of the dockerd, whoever started it."""
        if self._process is not None:
            return [self._process.pid]
        mark = f"--pidfile\0{self.directory}/dockerd.pid\0"
        return [pid for pid, command in _processes() if mark in command]

    def _gone(self) -> None:
        containerd = self.directory / "exec" / "containerd"
        config = str(containerd / "containerd.toml")
        self._until(
            lambda: not any(config in command for _, command in _processes()), "leaves its containerd"
        )
        # Where the init is slow to reap, the next dockerd would take the zombie for a living containerd.
        (containerd / "containerd.pid").unlink(missing_ok=True)

    def _end_processes(self) -> bool:
        """Kill what outlived the engine, shims and what runs under them; whether there was any."""
        listed = [(pid, c) for pid, c in _processes() if c.partition("\0")[0].rpartition("/")[2] in PROGRAMS]
        mine = [pid for pid, command in listed if f"{self.directory}/" in command]
        found = [*mine, *(pid for shim in mine for pid in _descendants(shim))]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    def _until(self, look: Callable[[], bool], complaint: str, within: float = 60.0) -> None:
        end = time.monotonic() + within
        while not look():
            if time.monotonic() > end:
                raise EngineFailed(f"dockerd in {self.directory} {complaint}: {self._words()}")
            time.sleep(0.02)

    def _words(self) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def start_detached(directory: Path, *options: str) -> DockerEngine:
    """An engine in ``directory`` (made here) that outlives this process; ``find`` and ``end`` are for later.

    The directory's name is that of its control group too: letters, digits and single dashes.
    """
    directory.mkdir(parents=True)
    (directory / "daemon.json").write_text("{}")
    engine = DockerEngine(directory, _claim(directory), options)
    engine.start()
    return engine


def find(directory: Path) -> DockerEngine:
    """What ``start_detached`` made in ``directory``, running or not, to be used and ended."""
    named = (str(link["ifname"]) for link in _bridges() if link.get("ifalias") == str(directory))
    number = next((int(name.removeprefix(BRIDGE.format(n=""))) for name in named), 0)
    return DockerEngine(directory, number)


@contextlib.contextmanager
def docker_engine(*options: str) -> Iterator[DockerEngine]:
    """An engine that lives as long as the block; ``options`` are flags such as ``--live-restore``."""
    directory = Path(tempfile.gettempdir()) / f"lastgood-docker-{secrets.token_hex(4)}"
    try:
        yield start_detached(directory, *options)
    finally:
        find(directory).remove()


def _claim(directory: Path) -> int:
    """The number of a bridge that is now ours, with an address that nobody routes elsewhere.

    It says whose it is, so that it is found again whatever becomes of us.
    """
    for number in random.sample(range(256), 256):
        bridge, net = BRIDGE.format(n=number), BRIDGE_NET.format(n=number)
        if _routed(net):
            continue
        try:
            _ip("link", "add", bridge, "type", "bridge")
        except EngineFailed:
            continue  # somebody else's by now
        _ip("link", "set", bridge, "alias", str(directory))
        # Else its address is the lowest of its ports', another one as containers come and go: those that know
        # the old one could not reach this machine until they ask again, a minute later.
        _ip("link", "set", bridge, "address", f"02:42:0a:d5:{number:02x}:01")
        _ip("address", "add", net, "dev", bridge)
        _ip("link", "set", bridge, "up")
        return number
    raise EngineFailed("all 256 bridges of test engines are taken: ip link show type bridge")


def _bridges() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_ip("-json", "link", "show", "type", "bridge"))
    # Where there is none, older versions print an empty object in the list.
    return [link for link in found if link]


def _routed(net: str) -> bool:
    found = json.loads(_ip("-json", "route", "show", "match", net))
    return any(route["dst"] != "default" for route in found)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise EngineFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _processes() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace")))
    return found


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _remove_cgroups(tree: Path) -> None:
    for directory, _, _ in os.walk(tree, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
