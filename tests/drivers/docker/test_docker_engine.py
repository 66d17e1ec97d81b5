"""Engines of our own: several at once, and nothing of them left afterwards."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lastgood.testing.docker_engine import BRIDGE, docker_engine


def _left(name: str) -> list[str]:
    """Lines of processes, mounts, links and control groups that name an engine."""
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    lines = [*processes.splitlines(), *links.splitlines(), *Path("/proc/mounts").read_text().splitlines()]
    groups = [str(p) for p in Path("/sys/fs/cgroup").glob(f"**/{name}")]
    return [line for line in (*lines, *groups) if name in line]


def test_two_engines_know_nothing_of_each_other() -> None:
    with docker_engine() as one, docker_engine() as other:
        assert one.number != other.number
        one.docker("volume", "create", "kept")
        assert one.docker("volume", "ls", "--quiet") == "kept"
        assert other.docker("volume", "ls", "--quiet") == ""


def test_nothing_is_left_of_an_engine_that_was_killed_with_a_container_running(busybox: bytes) -> None:
    with docker_engine() as engine:
        engine.docker("import", "-", "busybox", stdin=busybox)
        engine.docker("network", "create", "--subnet", engine.spare_net, "shop")
        engine.docker("run", "--detach", "--network", "shop", "busybox", "/bin/busybox", "sleep", "1000")
        name, bridge = engine.directory.name, BRIDGE.format(n=engine.number)
        assert _left(name)
        engine.kill()
        assert _left(name)
    assert _left(name) == []
    assert not Path("/sys/class/net", bridge).exists()
    assert not engine.directory.exists()


def test_who_talks_to_this_machine_still_does_when_another_container_comes(busybox: bytes) -> None:
    with docker_engine() as engine:
        bridge = Path("/sys/class/net", BRIDGE.format(n=engine.number), "address")
        known = bridge.read_text()
        engine.docker("import", "-", "busybox", stdin=busybox)
        for _ in range(2):
            engine.docker("run", "--detach", "busybox", "/bin/busybox", "sleep", "1000")
            assert bridge.read_text() == known


def test_a_killed_engine_starts_again_with_what_it_had(busybox: bytes) -> None:
    with docker_engine("--live-restore") as engine:
        engine.docker("import", "-", "busybox", stdin=busybox)
        run = engine.docker("run", "--detach", "busybox", "/bin/busybox", "sleep", "1000")
        before = engine.docker("inspect", "--format", "{{.State.Pid}}", run)
        engine.kill()
        engine.start()
        assert engine.docker("inspect", "--format", "{{.State.Pid}}", run) == before
