"""A real dockerd of one's own for tests, the demonstration and benchmarks, as root; many may run at once.

Each has its own data, socket, containerd, cgroup and bridge, and leaves the machine's firewall alone: what is
published goes through docker's own proxy, and is reached under 127.0.0.1; by containers under ``gateway``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
BRIDGE, BRIDGE_NET, SPARE_NET = "lgd{n}", "10.213.{n}.1/24", "10.214.{n}.0/24"
"""The kernel gives a name away once: who has made the interface has its subnets."""


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
        return self._process.pid if self._process is not None else 0

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
            *("--shutdown-timeout", "5", *self.options),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._until(self._answers, "does not answer")

    def stop(self) -> None:
        """SIGTERM; containers stop with it (but for ``--live-restore``)."""
        if self._process is not None:
            self._process.terminate()
            self._gone()

    def kill(self) -> None:
        """SIGKILL; the containers go on. Returns when its containerd is gone too."""
        if self._process is not None:
            self._process.kill()
            self._gone()

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """End it with all it started, and take away all it made."""
        self.stop()
        self._until(lambda: not self._end_processes(), "still has processes")
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([m for m in mounts if m.startswith(f"{self.directory}/")]):
            subprocess.run(["umount", "--lazy", mount], capture_output=True)
        networks = (self.directory / "data" / "network" / "files" / "local-kv.db").read_bytes()
        for link in [link["ifname"] for link in json.loads(_ip("-json", "link", "show", "type", "bridge"))]:
            if link.startswith("br-") and link.removeprefix("br-").encode() in networks:
                _ip("link", "delete", link)
        _ip("link", "delete", BRIDGE.format(n=self.number))
        for tree in (CGROUPS, *CGROUPS.glob("*/")):
            _remove_cgroups(tree / self.directory.name)
        shutil.rmtree(self.directory)

    # Within

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise EngineFailed(self._words())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(2)
            asking.connect(str(self.socket))
            asking.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return asking.recv(64).startswith(b"HTTP/1.0 200")
        return False

    def _gone(self) -> None:
        assert self._process is not None
        self._process.wait(60)
        self._process = None
        containerd = self.directory / "exec" / "containerd"
        config = str(containerd / "containerd.toml")
        self._until(
            lambda: not any(config in command for _, command in _processes()), "leaves its containerd"
        )
        # Where the init is slow to reap, the next dockerd would take the zombie for a living containerd.
        (containerd / "containerd.pid").unlink(missing_ok=True)

    def _end_processes(self) -> bool:
        """Kill what outlived the engine, shims and what runs under them; whether there was any."""
        listed = _processes()
        mine = [pid for pid, command in listed if f"{self.directory}/" in command and pid != os.getpid()]
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
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@contextlib.contextmanager
def docker_engine(*options: str) -> Iterator[DockerEngine]:
    """An engine that lives as long as the block; ``options`` are flags such as ``--live-restore``."""
    engine = DockerEngine(Path(tempfile.mkdtemp(prefix="lastgood-docker-")), _claim(), options)
    (engine.directory / "daemon.json").write_text("{}")
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()


def _claim() -> int:
    """The number of a bridge that is now ours, with an address that nobody routes elsewhere."""
    for number in random.sample(range(256), 256):
        bridge, net = BRIDGE.format(n=number), BRIDGE_NET.format(n=number)
        if _routed(net):
            continue
        try:
            _ip("link", "add", bridge, "type", "bridge")
        except EngineFailed:
            continue  # somebody else's by now
        _ip("address", "add", net, "dev", bridge)
        _ip("link", "set", bridge, "up")
        return number
    raise EngineFailed("all 256 bridges of test engines are taken: ip link show type bridge")


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
