"""What somebody did to containers is found; what an engine does by itself is not called drift."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from lastgood.domain.observation import Drift, DriftKind
from lastgood.domain.unit import Role
from lastgood.ports.drivers import Generation
from lastgood.testing.conformance_runs import BOTH, eventually


@pytest.fixture
def running(bench: Any) -> Generation:
    bench.settings |= {"memory": "64m", "stop_signal": "SIGKILL"}
    files = bench.files(app_yaml=b"colour: blue\n", nested__app_yaml=b"x: 1\n")
    secrets = (bench.secret("TOKEN", "hunter2"),)
    generation: Generation = bench.generation("g1", files=files, secrets=secrets)
    bench.up(generation)
    return generation


def found(bench: Any, generation: Generation, role: Role = Role.WEB) -> list[Drift]:
    """What differs in a role's container."""
    name = bench.name(generation.id, role)
    return [drift for drift in bench.driver.drift(generation) if name in drift.subject]


def the_one(bench: Any, generation: Generation) -> Drift:
    (only,) = found(bench, generation)
    return only


def is_mended(bench: Any, generation: Generation) -> None:
    bench.driver.start(generation, BOTH)
    for role in BOTH:
        eventually(lambda role=role: bench.driver.ready(generation, role).running)
    assert bench.driver.drift(generation) == ()


def test_limits_that_were_changed(bench: Any, running: Generation) -> None:
    assert bench.driver.drift(running) == ()
    bench.engine.docker("update", "--memory", "96m", "--memory-swap", "96m", bench.name("g1", Role.WEB))
    assert the_one(bench, running).detail == f"Memory is {96 << 20}, released was {64 << 20}"
    assert bench.driver.ready(running, Role.WEB).running, "it serves all the same"
    is_mended(bench, running)


def test_a_restart_policy_that_was_changed(bench: Any, running: Generation) -> None:
    bench.engine.docker("update", "--restart", "no", bench.name("g1", Role.WEB))
    assert "would not come back" in the_one(bench, running).detail
    before = bench.instance("g1", Role.WEB).id
    is_mended(bench, running)
    assert bench.instance("g1", Role.WEB).id == before


def test_a_network_that_was_joined(bench: Any, running: Generation) -> None:
    bench.engine.docker("network", "create", "--subnet", bench.engine.spare_net, "joined")
    try:
        bench.engine.docker("network", "connect", "joined", bench.name("g1", Role.WEB))
        assert the_one(bench, running).detail == "it is in network joined"
        is_mended(bench, running)
    finally:
        bench.end()
        bench.engine.docker("network", "rm", "joined")


def test_configuration_that_was_edited_in_the_container(bench: Any, running: Generation) -> None:
    edit = "cd /etc/lastgood; echo red >app.yaml; rm nested/app.yaml; touch extra; chmod 600 extra"
    bench.engine.docker("exec", bench.name("g1", Role.WEB), "/bin/sh", "-c", edit)
    seen = {drift.subject.rpartition(" ")[2]: drift.kind for drift in found(bench, running)}
    assert seen == {
        "/etc/lastgood/app.yaml": DriftKind.CHANGED,
        "/etc/lastgood/nested/app.yaml": DriftKind.MISSING,
        "/etc/lastgood/extra": DriftKind.UNKNOWN,
    }
    assert found(bench, running, Role.WORKER) == []
    before = bench.instance("g1", Role.WORKER).id
    is_mended(bench, running)
    assert bench.instance("g1", Role.WORKER).id == before


def test_a_restart_by_hand_and_one_by_the_engine_are_none(bench: Any, running: Generation) -> None:
    """What is there afterwards is what was released; the events are in the evidence."""
    bench.engine.docker("restart", "--time", "0", bench.name("g1", Role.WEB))
    assert bench.driver.drift(running) == ()
    events = next(item.content for item in bench.driver.evidence() if item.name == "engine/events.json")
    assert "restart" in [event["Action"] for event in json.loads(events)]
    os.kill(bench.of("g1", Role.WEB).pid, signal.SIGKILL)
    eventually(lambda: (s := bench.of("g1", Role.WEB)).restarts and s.running)
    assert bench.driver.drift(running) == ()


def test_our_own_stop_and_start_is_none(bench: Any, running: Generation) -> None:
    bench.driver.stop("g1", [Role.WEB])
    assert the_one(bench, running).kind is DriftKind.MISSING
    bench.driver.start(running, [Role.WEB])
    assert bench.driver.drift(running) == ()


def test_one_that_was_made_again_by_hand_with_our_labels(bench: Any, running: Generation) -> None:
    name = bench.name("g1", Role.WEB)
    there = bench.inspect(name)
    bench.engine.docker("rm", "--force", name)
    labels = [f"--label={key}={value}" for key, value in there["Config"]["Labels"].items()]
    env = ["--env=TOKEN=forged", "--env=COLOUR=green"]
    image = there["Image"]
    bench.engine.docker(
        "run", "--detach", "--name", name, "--restart", "always", *labels, *env, image, "/app/worker"
    )
    words = " ".join(drift.detail for drift in found(bench, running))
    for name in ("TOKEN", "COLOUR", "LASTGOOD_UNIT"):
        assert f"its environment variable {name} differs" in words
    assert "Memory is 0" in words
    assert "forged" not in words
    assert "hunter2" not in words
    seen = bench.driver.ready(running, Role.WEB)
    assert not seen.running
    assert "somebody made the container" in seen.detail
    is_mended(bench, running)


def test_a_stranger_with_our_labels(bench: Any, running: Generation) -> None:
    labels = bench.inspect(bench.name("g1", Role.WORKER))["Config"]["Labels"]
    copied = [f"--label={key}={value}" for key, value in labels.items()]
    name = f"copy-of-{bench.unit.site}"
    bench.engine.docker("create", "--name", name, *copied, running.image.config, "/app/worker")
    (drift,) = bench.driver.drift(running)
    assert (drift.subject, drift.kind) == (f"container {name}", DriftKind.UNKNOWN)
    assert len(bench.driver.status()) == 2


def test_an_image_that_nothing_protects_any_more(bench: Any, running: Generation) -> None:
    bench.engine.docker("container", "prune", "--force")
    (drift,) = bench.driver.drift(running)
    assert drift.subject == f"image {running.image}"
    bench.driver.hold(running.image)
    assert bench.driver.drift(running) == ()


def test_without_the_key_nothing_is_said_of_secrets(bench: Any, running: Generation) -> None:
    bench.tools.vault._values.clear()
    assert bench.driver.drift(running) == ()
