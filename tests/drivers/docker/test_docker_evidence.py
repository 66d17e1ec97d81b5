"""Evidence tells what happened and gives no secret away; room is what the machine has."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.errors import Rejected
from lastgood.domain.release import RoleSpec
from lastgood.domain.unit import Role
from lastgood.drivers.docker import room
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.testing.conformance_runs import eventually, raised

TALKS = RoleSpec(
    Role.WORKER, ("/bin/sh", "-c", "echo key $TOKEN; echo $TOKEN | base64; exit 7"), stop_grace=0.1
)


def evidence(bench: Any) -> dict[str, bytes]:
    return {item.name: item.content for item in bench.driver.evidence()}


def test_logs_and_states_are_there_and_secrets_are_not(bench: Any) -> None:
    generation = bench.generation("g1", TALKS, secrets=(bench.secret("TOKEN", "hunter2"),))
    bench.start(generation)
    eventually(lambda: bench.of("g1", Role.WORKER).restarts >= 1)
    bench.driver.stop("g1", [Role.WORKER])
    found = evidence(bench)
    assert b"key [secret TOKEN]" in found["g1/worker.log"]
    state = json.loads(found["g1/worker.inspect.json"])
    assert state["State"]["ExitCode"] == 7
    assert state["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert "TOKEN=[secret TOKEN]" in state["Config"]["Env"]
    kinds = [event["Action"] for event in json.loads(found["engine/events.json"])]
    assert {"create", "start", "die"} <= set(kinds)
    assert json.loads(found["engine/info.json"])["ServerVersion"]
    assert "LayersSize" in json.loads(found["engine/disk.json"])
    together = b"".join(found.values())
    assert b"hunter2" not in together
    assert base64.b64encode(b"hunter2")[:-2] not in together.replace(b"=", b"")


def test_a_log_is_withheld_when_the_key_is_gone_and_the_state_is_not(bench: Any) -> None:
    generation = bench.generation("g1", TALKS, secrets=(bench.secret("TOKEN", "hunter2"),))
    bench.start(generation)
    bench.tools.vault._values.clear()
    found = evidence(bench)
    assert found["g1/worker.log"].startswith(b"withheld")
    assert "TOKEN=[secret TOKEN]" in json.loads(found["g1/worker.inspect.json"])["Config"]["Env"]
    assert b"hunter2" not in b"".join(found.values())


def test_what_ended_long_ago_is_left_out(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.up(bench.generation("g1"))
    bench.driver.stop("g1", [Role.WORKER])
    assert "g1/worker.log" in evidence(bench)
    monkeypatch.setattr("lastgood.drivers.docker.evidence.LATELY", -1.0)
    assert {name for name in evidence(bench) if name.startswith("g1/")} == {
        "g1/web.log",
        "g1/web.inspect.json",
    }


def meminfo(path: Path, mib: int) -> Path:
    path.write_text(f"MemTotal:       9999999 kB\nMemAvailable:   {mib * 1024} kB\n")
    return path


def test_memory_is_wanted_by_what_does_not_run_yet(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.settings["roles"] = {
        "web": {"memory": "512m", "memory_reservation": "64m"},
        "worker": {"memory": "32m"},
    }
    generation = bench.generation("g1")
    both = [Role.WEB, Role.WORKER]
    monkeypatch.setattr(room, "MEMINFO", meminfo(tmp_path / "meminfo", 95))
    error = raised(lambda: bench.driver.refuse_without_room(generation, both))
    assert isinstance(error, Rejected)
    assert "96 MiB are wanted, 95 MiB are free" in str(error)
    bench.driver.refuse_without_room(generation, [Role.WEB])
    bench.up(generation, Role.WORKER)
    bench.driver.refuse_without_room(generation, both)
    meminfo(tmp_path / "meminfo", 96)
    bench.driver.refuse_without_room(bench.generation("g2"), both)


def test_of_another_machine_containers_are_counted(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own memory can't be seen, so what its containers use is."""
    eater = RoleSpec(Role.WORKER, ("/bin/sh", "-c", "dd if=/dev/zero of=/fill/x bs=1M count=64; sleep 1000"))
    bench.settings |= {"tmpfs": ["/fill:size=100m"]}
    engine = Engine(DockerSettings.parse(bench.settings, "test"))
    before = room._left(engine)
    bench.start(bench.generation("g1", eater))
    used = eventually(lambda: (left := before - room._left(engine)) >= 60 << 20 and left)
    assert used < 90 << 20
