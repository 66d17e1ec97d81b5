"""Images that are broken in every way people have managed: said in words, and at once where it is certain."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from lastgood.domain.errors import NeverReady, Rejected
from lastgood.domain.release import Readiness, RoleSpec
from lastgood.domain.unit import Role
from lastgood.ports.drivers import Generation, RoleStatus
from lastgood.testing.conformance_runs import eventually
from lastgood.testing.images import Healthcheck

ARM = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\xb7\0" + b"\0" * 100


def web(*command: str, path: str = "/healthz") -> RoleSpec:
    return RoleSpec(Role.WEB, command, ready=Readiness(path), stop_grace=0.5)


def sh(text: str) -> RoleSpec:
    return web("/bin/sh", "-c", text)


def started(bench: Any, spec: RoleSpec, **build: Any) -> Generation:
    generation: Generation = bench.generation("g1", spec, image=bench.image(**build))
    bench.start(generation)
    return generation


def look(bench: Any, generation: Generation) -> RoleStatus:
    seen: RoleStatus = bench.driver.ready(generation, Role.WEB)
    assert not seen.running
    return seen


def hopeless(bench: Any, generation: Generation, within: float = 10.0) -> RoleStatus:
    return eventually(lambda: (seen := look(bench, generation)).hopeless and seen, within)


def test_one_that_exits_at_once(bench: Any) -> None:
    generation = started(bench, sh("echo 'no database'; exit 3"))
    seen = hopeless(bench, generation)
    assert seen.detail.startswith("exited with 3, ")
    assert seen.detail.endswith(" times: no database")
    assert seen.restarts >= 3
    assert not bench.of("g1", Role.WEB).running


def test_one_that_exits_after_a_while_is_not_ready_in_between(bench: Any) -> None:
    """It answers, for a second at a time."""
    generation = started(bench, sh("httpd -p $PORT -h /www; sleep 1; echo 'out of licences'; exit 4"))
    eventually(lambda: bench.driver.ready(generation, Role.WEB).restarts or None)
    looks = []
    while not (seen := bench.driver.ready(generation, Role.WEB)).hopeless:
        looks.append(seen)
    assert not any(seen.running for seen in looks)
    assert "exited with 4" in seen.detail
    assert "out of licences" in seen.detail


def test_one_that_never_listens(bench: Any) -> None:
    generation = started(bench, sh("echo 'warming up'; exec sleep 1000"))
    seen = eventually(lambda: "warming up" in (s := look(bench, generation)).detail and s)
    assert f"GET /healthz on {seen.addresses[0]}: " in seen.detail
    assert seen.pid > 0
    assert not seen.hopeless


def test_one_that_listens_and_answers_500(bench: Any) -> None:
    generation = started(bench, web("/app/web", path="/cgi-bin/sick"))
    seen = eventually(lambda: "answered 500" in (s := look(bench, generation)).detail and s)
    assert not seen.hopeless


def test_a_check_that_says_it_is_well_and_is_not(bench: Any) -> None:
    """Our own probe finds out."""
    lies = Healthcheck(["CMD", "/bin/true"])
    generation = started(bench, sh("exec sleep 1000"), healthcheck=lies)
    eventually(lambda: bench.instance("g1", Role.WEB).health == "healthy")
    assert "GET /healthz" in look(bench, generation).detail


def test_a_check_that_fails_though_it_answers(bench: Any) -> None:
    sick = Healthcheck(["CMD-SHELL", "echo queue is stuck; exit 1"], retries=1)
    generation = started(bench, web("/app/web"), healthcheck=sick)
    seen = eventually(lambda: "fails" in (s := look(bench, generation)).detail and s)
    assert seen.detail == "its health check fails: queue is stuck"


def test_a_check_whose_first_run_is_far_away_is_run_now(bench: Any) -> None:
    slow = Healthcheck(["CMD", "/bin/true"], interval=3600)
    generation = started(bench, web("/app/web"), healthcheck=slow)
    begun = time.monotonic()
    eventually(lambda: bench.driver.ready(generation, Role.WEB).running)
    assert time.monotonic() - begun < 10
    assert bench.instance("g1", Role.WEB).health == "starting"


def test_a_check_that_does_not_pass_when_it_is_run_now(bench: Any) -> None:
    slow = Healthcheck(["CMD-SHELL", "test -e /warm"], interval=3600)
    generation = started(bench, web("/app/web"), healthcheck=slow)
    eventually(lambda: look(bench, generation).detail == "its health check does not pass yet")
    bench.engine.docker("exec", bench.name("g1", Role.WEB), "/bin/touch", "/warm")
    eventually(lambda: bench.driver.ready(generation, Role.WEB).running)


def test_one_that_takes_more_memory_than_it_may(bench: Any) -> None:
    bench.settings["memory"] = "16m"
    hungry = "x=0123456789abcdef; while :; do x=$x$x; done"
    generation = started(bench, sh(hungry))
    seen = hopeless(bench, generation, 30)
    assert "ran out of its memory of 16 MiB and was killed" in seen.detail


def test_one_for_other_processors(bench: Any) -> None:
    generation = started(bench, web("/app/arm"), files={"/app/arm": (ARM, 0o755)}, architecture="arm64")
    seen = hopeless(bench, generation)
    assert seen.restarts < 3, "nobody waits for it to try again"
    assert "its image is made for other processors" in seen.detail
    assert "exec format error" in seen.detail


@pytest.mark.parametrize(
    ("command", "words"),
    [("/app/nothing", "no such file or directory"), ("/etc/passwd", "permission denied")],
)
def test_one_whose_command_can_not_be_run(bench: Any, command: str, words: str) -> None:
    generation = bench.generation("g1", web(command))
    bench.driver.prepare(generation)
    with pytest.raises(NeverReady) as refused:
        bench.driver.start(generation, [Role.WEB])
    assert "web of g1 can't be started: " in str(refused.value)
    assert command in str(refused.value)
    assert words in str(refused.value)
    assert bench.inspect(bench.name("g1", Role.WEB))["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert hopeless(bench, generation).detail.startswith("can't be started: exec: ")


def test_an_image_that_is_nowhere(bench: Any) -> None:
    image = replace(bench.image(), config="sha256:" + "a" * 64, manifest="sha256:" + "b" * 64)
    generation = bench.generation("g1", image=replace(image, digest="sha256:" + "b" * 64))
    with pytest.raises(Rejected, match=r"image registry\.test/shop/web@sha256:bbbb\w+ can't be had"):
        bench.driver.prepare(generation)
    with pytest.raises(Rejected, match="is not in the docker engine"):
        bench.driver.start(generation, [Role.WEB])
    assert bench.names() == []


def test_what_it_last_said_is_told_without_its_secrets(bench: Any) -> None:
    token = bench.secret("TOKEN", "hunter2")
    image = bench.image()
    generation = bench.generation("g1", sh("echo key $TOKEN; exit 1"), image=image, secrets=(token,))
    bench.start(generation)
    assert hopeless(bench, generation).detail.endswith("key [secret TOKEN]")
