"""The engine is killed, we are killed, two of us are at it: afterwards it is as it was asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.errors import DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.unit import Role
from lastgood.drivers.docker import containers
from lastgood.drivers.docker.engine import Engine
from lastgood.ports.drivers import Generation
from lastgood.testing.conformance_runs import BOTH, eventually, raised
from lastgood.testing.docker_engine import DockerEngine, docker_engine
from tests.drivers.docker.conftest import Bench, in_short

CHANGES = ["create", "archive", "rename", "update", "start"]


@pytest.fixture(scope="module")
def mortal() -> Iterator[DockerEngine]:
    with docker_engine() as made:
        yield made


@pytest.fixture(scope="module")
def surviving() -> Iterator[DockerEngine]:
    """One whose containers live on without it."""
    with docker_engine("--live-restore") as made:
        yield made


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """On an engine that may be killed."""
    made = Bench(request.getfixturevalue(getattr(request, "param", "mortal")), tmp_path / "state")
    made.settings["network"] = "host"
    yield made
    made.end()


BOTH_KINDS = pytest.mark.parametrize("bench", ["mortal", "surviving"], indirect=True)


def generation(bench: Bench, id: str = "g1") -> Generation:
    made: Generation = in_short(bench.generation(id, files=bench.files(app_yaml=b"colour: blue\n")))
    return made


class Killed(BaseException):
    """Our own process ends here."""


@contextmanager
def after(monkeypatch: pytest.MonkeyPatch, call: str, do: Any) -> Iterator[None]:
    """``do`` runs once, right after the first call that changes something and ends in ``call``."""
    original, done = Engine._call, []

    @contextmanager
    def spied(self: Engine, name: str, *, changes: bool = True) -> Iterator[Any]:
        with original(self, name, changes=changes) as client:
            yield client
        if changes and name.endswith(call) and not done:
            done.append(name)
            do()

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_call", spied)
        yield
    assert done, f"nothing was called that ends in {call}"


def is_whole(bench: Bench) -> None:
    """Exactly the containers that were asked for, running, with their configuration."""
    wanted = sorted(bench.name("g1", role) for role in BOTH)
    assert [name for name in bench.names() if not name.startswith("lastgood.hold")] == wanted
    assert {s.role for s in bench.driver.status() if s.running} == set(BOTH)
    assert bench.driver.drift(generation(bench)) == ()


@pytest.mark.parametrize("call", CHANGES)
def test_the_engine_dies_while_a_generation_starts(
    bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = generation(bench)
    bench.driver.prepare(wanted)
    with after(monkeypatch, call, bench.engine.kill):
        error = raised(lambda: bench.driver.start(wanted, BOTH))
    # Both are started at once: the other one's start may have been under way.
    assert isinstance(error, Unreachable) or (call == "start" and isinstance(error, OutcomeUnknown | None))
    bench.engine.start()
    monkeypatch.setattr(containers, "LEFTOVER", -1.0)
    bench.driver.start(wanted, BOTH)
    for role in BOTH:
        eventually(lambda role=role: bench.driver.ready(wanted, role).running)
    is_whole(bench)


@pytest.mark.parametrize("call", CHANGES)
def test_we_die_while_a_generation_starts(bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def die() -> None:
        raise Killed

    wanted = generation(bench)
    bench.driver.prepare(wanted)
    with after(monkeypatch, call, die), pytest.raises(Killed):
        bench.driver.start(wanted, BOTH)
    monkeypatch.setattr(containers, "LEFTOVER", -1.0)
    bench.driver.start(wanted, BOTH)
    for role in BOTH:
        eventually(lambda role=role: bench.driver.ready(wanted, role).running)
    is_whole(bench)


@BOTH_KINDS
@pytest.mark.parametrize("call", ["update", "kill"])
def test_the_engine_dies_while_a_generation_stops(
    bench: Bench, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = generation(bench)
    bench.up(wanted)
    with after(monkeypatch, call, bench.engine.kill):
        assert isinstance(raised(lambda: bench.driver.stop("g1", [Role.WORKER])), DriverError)
    bench.engine.start()
    bench.driver.stop("g1", [Role.WORKER])
    assert bench.of("g1", Role.WORKER).pid == 0
    bench.engine.restart()
    eventually(lambda: bench.of("g1", Role.WEB).running)
    assert bench.of("g1", Role.WORKER).pid == 0


@BOTH_KINDS
def test_what_was_stopped_stays_so_and_what_runs_comes_back(bench: Bench) -> None:
    """Law 13: no crash of the engine gives a worker back that another generation has replaced."""
    old, new = generation(bench), generation(bench, "g2")
    bench.up(old)
    bench.driver.stop("g1", [Role.WORKER])
    bench.up(new)
    for end in (bench.engine.kill, bench.engine.stop):
        end()
        bench.engine.start()
        eventually(lambda: bench.of("g2", Role.WORKER).running and bench.of("g1", Role.WEB).running)
        assert bench.of("g1", Role.WORKER).pid == 0
        assert bench.of("g2", Role.WEB).running


def test_a_port_is_the_same_after_a_crash_of_the_role_and_of_the_engine(bench: Bench) -> None:
    bench.settings["network"] = "bridge"
    bench.up(generation(bench), Role.WEB)
    before = bench.of("g1", Role.WEB)
    bench.engine.kill()
    bench.engine.start()
    eventually(lambda: bench.of("g1", Role.WEB).running)
    os.kill(bench.of("g1", Role.WEB).pid, signal.SIGKILL)
    after = eventually(lambda: (s := bench.of("g1", Role.WEB)).restarts and s.running and s)
    assert after.addresses == before.addresses


def test_an_engine_that_is_away_is_unreachable_and_says_where(bench: Bench) -> None:
    bench.up(generation(bench), Role.WORKER)
    driver = bench.driver
    driver.status()
    bench.engine.kill()
    for call in (
        driver.status,
        lambda: driver.start(generation(bench), [Role.WEB]),
        lambda: driver.stop("g1", BOTH),
        lambda: bench.driver.status(),
    ):
        error = raised(call)
        assert isinstance(error, Unreachable)
        assert error.where == bench.engine.host
    bench.engine.start()
    assert driver.status(), "it connects again by itself"


def test_two_drivers_that_start_the_same_make_one_set(bench: Bench) -> None:
    wanted = generation(bench)
    wanted = replace(wanted, roles=tuple(replace(spec, replicas=2) for spec in wanted.roles))
    bench.driver.prepare(wanted)
    errors: list[object] = []
    together = threading.Barrier(3)

    def start() -> None:
        together.wait()
        errors.append(raised(lambda: bench.driver.start(wanted, BOTH)))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [None, None, None]
    names = [name for name in bench.names() if not name.startswith("lastgood.hold")]
    assert names == sorted(bench.name("g1", role, n) for role in BOTH for n in (1, 2))
    assert all(s.running for s in bench.driver.status())


def test_a_half_made_container_is_left_alone_while_somebody_may_be_at_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise Killed

    wanted = generation(bench)
    bench.driver.prepare(wanted)
    with after(monkeypatch, "create", die), pytest.raises(Killed):
        bench.driver.start(wanted, BOTH)
    half = [name for name in bench.names() if not name.startswith("lastgood.hold")]
    assert len(half) == 1
    bench.up(wanted)
    assert set(half) < set(bench.names())
    assert len(bench.driver.status()) == 2
    bench.driver.stop("g1", BOTH)
    bench.driver.remove("g1")
    assert [name for name in bench.names() if not name.startswith("lastgood.hold")] == []


def forget(bench: Bench, role: Role) -> str:
    """The engine dies after a role has started and before it has written that down; the container's id."""
    (id,) = bench.engine.docker(
        "ps", "--quiet", "--no-trunc", "--filter", f"name={bench.name('g1', role)}"
    ).split()
    bench.engine.kill()
    (record,) = bench.engine.directory.rglob(f"containers/{id}/config.v2.json")
    kept = json.loads(record.read_text())
    kept["State"] |= {"Running": False, "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"}
    kept["HasBeenStartedBefore"] = False
    record.write_text(json.dumps(kept))
    bench.engine.start()
    return id


@pytest.mark.parametrize("bench", ["surviving"], indirect=True)
def test_what_the_engine_lost_of_web_is_left_alone(bench: Bench) -> None:
    wanted = generation(bench)
    bench.driver.prepare(wanted)
    bench.driver.start(wanted, [Role.WEB])
    lost = forget(bench, Role.WEB)
    bench.driver.start(wanted, BOTH)
    for role in BOTH:
        eventually(lambda role=role: bench.driver.ready(wanted, role).running)
    assert lost not in bench.engine.docker("ps", "--quiet", "--no-trunc").split()


@pytest.mark.parametrize("bench", ["surviving"], indirect=True)
def test_no_second_worker_is_started_beside_one_that_the_engine_lost(bench: Bench) -> None:
    wanted = generation(bench)
    bench.driver.prepare(wanted)
    bench.driver.start(wanted, BOTH)
    assert forget(bench, Role.WORKER)
    error = raised(lambda: bench.driver.start(wanted, BOTH))
    assert isinstance(error, Rejected)
    assert "unseen by the engine" in str(error.what)
    assert bench.driver.status()
    namespace = bench.engine.directory.name
    socket = next(bench.engine.directory.rglob("containerd.sock"))
    for words in str(error.todo).partition(": ")[2].partition(". Then")[0].split("; "):
        command = words.replace("ctr -n moby", f"ctr -a {socket} -n {namespace}").split()
        subprocess.run(command, check=words.startswith("ctr -n moby container"))
    bench.driver.start(wanted, BOTH)
    for role in BOTH:
        eventually(lambda role=role: bench.driver.ready(wanted, role).running)
