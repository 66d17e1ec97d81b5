"""What the shim promises: no role twice, nothing lost when it dies, nobody else's process touched."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.errors import OutcomeUnknown
from lastgood.domain.release import RoleSpec
from lastgood.domain.unit import Role
from lastgood.drivers.process import layout, proc
from lastgood.testing.conformance_runs import eventually

BOTH = [Role.WEB, Role.WORKER]
EXCLUSIVE = b"""
import fcntl, os, sys, time
mine = open(os.environ["ALONE"], "a")
try:
    fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    open(os.environ["ALONE"] + ".double", "w").close()
print("begun", flush=True)
time.sleep(1000)
"""
STUBBORN = b"""
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(1000)
"""
FAMILY = b"""
import os, subprocess, time
subprocess.Popen(["sleep", "1000"])
subprocess.Popen(["sleep", "1000"], start_new_session=True)
print("a family", flush=True)
time.sleep(1000)
"""
CALLER = """
import pickle, sys
from lastgood.drivers.process.driver import create
from lastgood.domain.unit import Role
settings, tools, generation, times, stops = pickle.loads(sys.stdin.buffer.read())
driver = create(generation.unit, settings, tools)
for _ in range(times):
    driver.start(generation, [Role.WORKER])
    if stops:
        driver.stop(generation.id, [Role.WORKER])
"""


def caller(bench: Any, generation: Any, times: int, stops: bool = False) -> subprocess.Popen[bytes]:
    """Another process that uses the driver, as the runner and the command line do at once."""
    import pickle

    process = subprocess.Popen([sys.executable, "-c", CALLER], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps((bench.settings, bench.tools, generation, times, stops)))
    process.stdin.close()
    return process


def worker(bench: Any, id: str, script: bytes, grace: float = 5.0, **environment: str) -> Any:
    spec = RoleSpec(Role.WORKER, (sys.executable, "{artifact}/it.py"), environment, stop_grace=grace)
    generation = bench.generation(id, spec, it=script)
    bench.driver.prepare(generation)
    return generation


def log(bench: Any, id: str, role: Role = Role.WORKER) -> str:
    file = bench.home(id) / "logs" / f"{role.value}.log"
    return str(file.read_text()) if file.exists() else ""


def test_children_outlive_the_shim_and_are_adopted(bench: Any) -> None:
    generation = bench.generation("g1")
    bench.up(generation)
    before = [(s.pid, s.started) for s in bench.driver.status()]
    bench.kill_shim("g1")
    seen = bench.driver.status()
    assert [(s.pid, s.started) for s in seen] == before
    assert all("not supervised" in s.detail for s in seen)
    bench.driver.start(generation, BOTH)
    assert [(s.pid, s.started) for s in bench.driver.status()] == before
    assert all(s.restarts == 0 and s.detail == "" for s in bench.driver.status())
    assert len(bench.processes("g1", Role.WORKER)) == 1
    os.kill(before[1][0], signal.SIGKILL)  # an adopted child is restarted like an own one
    eventually(lambda: bench.driver.status()[1].running and bench.driver.status()[1].restarts == 1)
    eventually(lambda: len(bench.processes("g1", Role.WORKER)) == 1)  # none before its command begins


def test_a_child_that_died_while_nobody_watched_is_restarted(bench: Any) -> None:
    generation = bench.generation("g1")
    bench.up(generation)
    bench.kill_shim("g1")
    pid = bench.driver.status()[1].pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not bench.driver.status()[1].running)
    bench.driver.start(generation, BOTH)
    eventually(lambda: bench.driver.status()[1].running)
    assert bench.driver.status()[1].restarts == 1


def test_stop_works_without_the_shim(bench: Any) -> None:
    bench.up(bench.generation("g1"))
    bench.kill_shim("g1")
    bench.driver.stop("g1", [Role.WORKER])
    web, work = bench.driver.status()
    assert web.running
    assert not work.running
    assert bench.processes("g1", Role.WORKER) == []


def test_the_shim_ends_with_its_last_role_and_is_nobodys_child(bench: Any) -> None:
    bench.up(bench.generation("g1"))
    pid = bench.shim("g1")
    assert os.getsid(pid) != os.getsid(0)
    assert int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) != os.getpid()
    assert os.readlink(f"/proc/{pid}/cwd") == "/"  # noqa: PTH115
    bench.driver.stop("g1", BOTH)
    eventually(lambda: proc.start_ticks(pid) == 0)


def test_a_pid_that_came_again_is_a_stranger(bench: Any) -> None:
    generation = bench.generation("g1")
    bench.up(generation)
    home = str(bench.home("g1"))
    bench.kill_shim("g1")
    real = bench.driver.status()[1].pid
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        state = layout.read(home, layout.STATE)
        state["roles"]["worker"] |= {"pid": stranger.pid}
        layout.write(home, layout.STATE, state)
        assert not bench.driver.status()[1].running
        bench.driver.start(generation, BOTH)
        eventually(lambda: bench.driver.status()[1].running)
        assert bench.driver.status()[1].pid not in (stranger.pid, real)
        assert proc.start_ticks(real) == 0  # found by its marker: never two of them
        bench.kill_shim("g1")
        state = layout.read(home, layout.STATE)
        state["roles"]["worker"] |= {"pid": stranger.pid}
        layout.write(home, layout.STATE, state)
        bench.driver.stop("g1", BOTH)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_start_time_that_differs_is_not_the_same_process(bench: Any) -> None:
    generation = bench.generation("g1")
    bench.up(generation)
    home = str(bench.home("g1"))
    bench.kill_shim("g1")
    state = layout.read(home, layout.STATE)
    state["roles"]["web"]["ticks"] -= 1
    layout.write(home, layout.STATE, state)
    assert not bench.driver.status()[0].running
    bench.driver.start(generation, BOTH)
    eventually(lambda: bench.driver.ready(generation, Role.WEB).running)
    assert len(bench.processes("g1", Role.WEB)) == 1


def test_a_lost_state_file_doubles_nothing(bench: Any) -> None:
    generation = bench.generation("g1")
    bench.up(generation)
    bench.kill_shim("g1")
    (bench.home("g1") / layout.STATE).write_text("{ half a")
    bench.driver.start(generation, BOTH)
    eventually(lambda: all(bench.driver.ready(generation, role).running for role in BOTH))
    assert len(bench.processes("g1", Role.WORKER)) == 1


def test_twenty_starts_from_four_processes_make_one_worker(bench: Any, tmp_path: Path) -> None:
    generation = worker(bench, "g1", EXCLUSIVE, ALONE=str(tmp_path / "alone"))
    callers = [caller(bench, generation, 5) for _ in range(4)]
    for process in callers:
        assert process.stderr is not None
        assert (process.stderr.read(), process.wait()) == (b"", 0)
    eventually(lambda: "begun" in log(bench, "g1"))
    assert len(bench.processes("g1", Role.WORKER)) == 1
    assert log(bench, "g1").count("begun") == 1
    assert not (tmp_path / "alone.double").exists()


@pytest.mark.parametrize("seed", [1, 2])
def test_never_two_workers_whoever_is_killed_when(bench: Any, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    generation = worker(bench, "g1", EXCLUSIVE, grace=0.5, ALONE=str(tmp_path / "alone"))
    for _ in range(8):
        processes = [caller(bench, generation, 1000, stops=True) for _ in range(2)]
        end = time.monotonic() + chance.uniform(0.25, 0.9)
        while time.monotonic() < end:
            pid = bench.shim("g1") if (bench.home("g1") / layout.STATE).exists() else 0
            if pid and proc.start_ticks(pid) and chance.random() < 0.1:
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                processes[0].wait(timeout=0.01)
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            assert process.stderr is not None
            with process.stderr as said:
                assert b"Traceback" not in (words := said.read()), words.decode()
    bench.driver.start(generation, [Role.WORKER])
    eventually(lambda: bench.driver.ready(generation, Role.WORKER).running)
    assert len(bench.processes("g1", Role.WORKER)) == 1
    assert "begun" in log(bench, "g1")
    assert not (tmp_path / "alone.double").exists()


def test_a_deaf_worker_is_ended_by_force_after_its_grace(bench: Any) -> None:
    generation = worker(bench, "g1", STUBBORN, grace=0.4)
    bench.driver.start(generation, [Role.WORKER])
    eventually(lambda: "deaf" in log(bench, "g1"))
    before = time.monotonic()
    bench.driver.stop("g1", [Role.WORKER])
    assert 0.4 <= time.monotonic() - before < 3.0
    assert bench.processes("g1", Role.WORKER) == []


@pytest.mark.parametrize("shim_lives", [True, False])
def test_descendants_go_with_their_role(bench: Any, shim_lives: bool) -> None:
    generation = worker(bench, "g1", FAMILY)
    bench.driver.start(generation, [Role.WORKER])
    eventually(lambda: "a family" in log(bench, "g1") and len(bench.processes("g1", Role.WORKER)) == 3)
    if not shim_lives:
        bench.kill_shim("g1")
    bench.driver.stop("g1", [Role.WORKER])
    assert bench.processes("g1", Role.WORKER) == []


def test_orphans_of_a_dead_leader_end_before_the_next_life(bench: Any) -> None:
    generation = worker(bench, "g1", FAMILY)
    bench.driver.start(generation, [Role.WORKER])
    eventually(lambda: len(bench.processes("g1", Role.WORKER)) == 3)
    old = set(bench.processes("g1", Role.WORKER))
    os.kill(bench.driver.status()[0].pid, signal.SIGKILL)
    eventually(lambda: log(bench, "g1").count("a family") == 2)
    eventually(lambda: len(bench.processes("g1", Role.WORKER)) == 3)
    assert not old & set(bench.processes("g1", Role.WORKER))


def test_a_crash_loop_is_called_one(bench: Any) -> None:
    generation = worker(bench, "g1", b"import no_such_module_here\n")
    bench.driver.start(generation, [Role.WORKER])
    words = "exited with 1 after"
    seen = eventually(lambda: words in (s := bench.driver.ready(generation, Role.WORKER)).detail and s)
    assert not seen.running
    assert "No module named 'no_such_module_here'" in seen.detail
    loop = eventually(lambda: "crash loop" in (s := bench.driver.status()[0]).detail and s, 40.0)
    assert not loop.running
    assert loop.restarts == 8
    bench.driver.start(generation, [Role.WORKER])  # asked again: tried again at once
    eventually(lambda: bench.driver.status()[0].restarts > 8)
    bench.driver.stop("g1", [Role.WORKER])
    assert bench.driver.status()[0].detail == "stopped"


def test_a_shim_that_can_not_begin_is_an_unknown_outcome(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generation = bench.generation("g1")
    bench.driver.prepare(generation)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        with pytest.raises(OutcomeUnknown, match="does not answer"):
            bench.driver.start(generation, BOTH)
    assert not any(s.running for s in bench.driver.status())
    bench.driver.start(generation, BOTH)
    eventually(lambda: bench.driver.ready(generation, Role.WEB).running)
