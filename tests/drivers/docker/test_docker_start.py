"""What a container is made of, and what happens to those that are there already."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import InvalidInput, NeverReady, Rejected
from lastgood.domain.release import Artifact, Readiness, RoleSpec
from lastgood.domain.unit import Role
from lastgood.drivers.docker.content import files_in
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.look import probe
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.testing.conformance_runs import BOTH, eventually, raised

TRICKY = 'line one\nline two\'s "$HOME" \\ end\n'


def environment(bench: Any, role: Role = Role.WEB) -> dict[str, str]:
    lines = bench.inspect(bench.name("g1", role))["Config"]["Env"]
    return dict(line.partition("=")[::2] for line in lines)


def files(bench: Any, place: str, role: Role = Role.WEB) -> dict[str, tuple[bytes, int]]:
    """As they are in the container, running or not."""
    engine = Engine(DockerSettings.parse(bench.settings, "test"))
    return files_in(engine.get(bench.name("g1", role), place) or b"")


def test_a_service_is_told_what_every_runtime_tells_it(bench: Any) -> None:
    token = bench.secret("TOKEN", TRICKY)
    bench.start(bench.generation("g1", secrets=(token,), files=bench.files(app_yaml=b"a: 1\n")))
    web = environment(bench)
    told = {name: value for name, value in web.items() if name.startswith("LASTGOOD_")}
    assert told == {
        "LASTGOOD_UNIT": str(bench.unit),
        "LASTGOOD_GENERATION": "g1",
        "LASTGOOD_CONFIG": "/etc/lastgood",
        "LASTGOOD_ROLE": "web",
        "LASTGOOD_INSTANCE": "1",
    }
    assert (web["PORT"], web["COLOUR"], web["TOKEN"]) == ("8080", "blue", TRICKY)
    worker = environment(bench, Role.WORKER)
    assert "PORT" not in worker
    assert "COLOUR" not in worker
    assert worker["LASTGOOD_ROLE"] == "worker"


def test_names_and_labels_say_what_it_is(bench: Any) -> None:
    id = f"{bench.unit.slug}-0123456789ab"
    bench.start(bench.generation(id), Role.WEB)
    name = f"lastgood.{bench.unit.slug}.0123456789ab.web.1"
    assert name in bench.names()
    labels = bench.inspect(name)["Config"]["Labels"]
    assert labels["dev.lastgood.unit"] == str(bench.unit)
    assert labels["dev.lastgood.generation"] == id
    assert bench.of(id, Role.WEB).addresses == (f"127.0.0.1:{labels['dev.lastgood.port']}",)


def test_it_runs_the_image_by_digest_and_not_by_tag(bench: Any) -> None:
    image = bench.image()
    bench.start(bench.generation("g1", image=image), Role.WEB)
    assert bench.inspect(bench.name("g1", Role.WEB))["Image"] == image.config
    assert bench.inspect(bench.name("g1", Role.WEB))["Config"]["Image"] == image.config


def test_the_command_is_filled_or_the_image_s_own(bench: Any) -> None:
    spec = RoleSpec(Role.WEB, ("/bin/httpd", "-f", "-p", "{port}", "-h", "{config}"), ready=Readiness("/x"))
    own = bench.image("own", command=["/app/worker"])
    generation = bench.generation(
        "g1", spec, RoleSpec(Role.WORKER, ()), image=own, files=bench.files(x=b"hi")
    )
    bench.up(generation)
    config = bench.inspect(bench.name("g1", Role.WEB))["Config"]
    assert config["Cmd"] == ["/bin/httpd", "-f", "-p", "8080", "-h", "/etc/lastgood"]
    assert bench.inspect(bench.name("g1", Role.WORKER))["Config"]["Cmd"] == ["/app/worker"]


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
def test_configuration_is_there_byte_for_byte_from_the_first_moment(bench: Any, read_only: bool) -> None:
    bench.settings |= {"read_only": read_only, "config": "/srv/conf/shop"}
    contents = {"app_yaml": b"colour: blue\n", "nested__blob": bytes(range(256))}
    entries = tuple(replace(entry, mode=0o640) for entry in bench.files(**contents))
    seen = RoleSpec(Role.WEB, ("/bin/sh", "-c", "sha256sum {config}/nested/blob; sleep 1000"), stop_grace=0.1)
    bench.start(bench.generation("g1", seen, files=entries))
    name = bench.name("g1", Role.WEB)
    expected = {"app.yaml": (b"colour: blue\n", 0o640), "nested/blob": (bytes(range(256)), 0o640)}
    assert files(bench, "/srv/conf/shop") == expected
    read = f"{digest_bytes(bytes(range(256))).removeprefix('sha256:')}  /srv/conf/shop/nested/blob"
    eventually(lambda: bench.engine.docker("logs", name) == read)
    bench.driver.stop("g1", [Role.WEB])
    assert files(bench, "/srv/conf/shop") == expected
    bench.driver.remove("g1")
    volumes = bench.engine.docker("volume", "ls", "--quiet", "--filter", "dangling=true")
    assert volumes == "", "nothing of it is left"


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
@pytest.mark.parametrize(("user", "owner"), [("", "0"), ("clerk", "1234"), ("77:88", "77")])
def test_secrets_as_files_are_for_their_user_alone(
    bench: Any, user: str, owner: str, read_only: bool
) -> None:
    bench.settings |= {"secrets": "files", "read_only": read_only} | ({"user": user} if user else {})
    look = RoleSpec(
        Role.WORKER, ("/bin/sh", "-c", "stat -c %u:%a /run/secrets/TOKEN; cat /run/secrets/TOKEN")
    )
    bench.start(bench.generation("g1", look, secrets=(bench.secret("TOKEN", TRICKY),)))
    assert files(bench, "/run/secrets", Role.WORKER) == {"TOKEN": (TRICKY.encode(), 0o400)}
    name = bench.name("g1", Role.WORKER)
    eventually(lambda: bench.engine.docker("logs", name).startswith(f"{owner}:400\n{TRICKY.rstrip()}"))
    assert "TOKEN" not in environment(bench, Role.WORKER)


def test_a_user_that_the_image_does_not_know_is_refused(bench: Any) -> None:
    bench.settings |= {"secrets": "files", "user": "nobody-there"}
    error = raised(lambda: bench.start(bench.generation("g1", secrets=(bench.secret("TOKEN", "x"),))))
    assert isinstance(error, Rejected)
    assert "nobody-there" in str(error)
    assert not [name for name in bench.names() if ".hold." not in name], "what was begun is taken away again"


def test_what_a_files_driver_placed_is_mounted(bench: Any, tmp_path: Path) -> None:
    placed = tmp_path / "placed"
    placed.mkdir()
    (placed / "healthz").write_text("from the host")
    spec = RoleSpec(Role.WEB, ("/bin/httpd", "-f", "-p", "{port}", "-h", "{config}"), ready=Readiness())
    generation = replace(bench.generation("g1", spec), config=placed)
    bench.up(generation)
    mount = bench.inspect(bench.name("g1", Role.WEB))["Mounts"][0]
    assert (mount["Source"], mount["Destination"], mount["RW"]) == (str(placed), "/etc/lastgood", False)
    elsewhere = bench.settings | {"host": "tcp://192.0.2.1:2376"}
    bench.settings = elsewhere
    assert isinstance(raised(lambda: bench.driver.start(generation, [Role.WEB])), InvalidInput)


def test_options_of_a_role_reach_its_container(bench: Any, tmp_path: Path) -> None:
    bench.engine.docker("network", "create", "--subnet", bench.engine.spare_net, "shop-net")
    web = {
        "port": 9000, "memory": "64m", "memory_reservation": "32m", "cpus": 0.5, "pids": 50,
        "volumes": ["shop-data:/data", f"{tmp_path}:/host:ro"], "tmpfs": ["/scratch:size=1m"],
        "extra_hosts": ["db.test:192.0.2.7"], "ulimits": {"nofile": {"soft": 512, "hard": 1024}},
        "log": {"driver": "json-file", "options": {"max-size": "1m"}}, "cap_drop": ["NET_RAW"],
        "security_opt": ["no-new-privileges"], "shm_size": "8m", "init": True, "working_dir": "/www",
        "networks": ["shop-net"], "user": "clerk", "stop_signal": "SIGINT",
    }  # fmt: skip
    bench.settings |= {"roles": {"web": web}}
    try:
        bench.up(bench.generation(), Role.WEB)
        found = bench.inspect(bench.name("g1", Role.WEB))
        assert bench.driver.drift(bench.generation()) != (), "the worker is missing"
        assert not [d for d in bench.driver.drift(bench.generation()) if ".web." in d.subject]
        bench.end()
    finally:
        bench.end()
        bench.engine.docker("network", "rm", "shop-net")
        bench.engine.docker("volume", "rm", "shop-data")
    host, config = found["HostConfig"], found["Config"]
    assert (host["Memory"], host["MemoryReservation"], host["NanoCpus"]) == (64 << 20, 32 << 20, 500_000_000)
    assert (host["PidsLimit"], host["ShmSize"], host["Init"]) == (50, 8 << 20, True)
    assert {m["Destination"]: m["RW"] for m in found["Mounts"]} == {"/data": True, "/host": False}
    assert host["Tmpfs"] == {"/scratch": "size=1m"}
    assert host["ExtraHosts"] == ["db.test:192.0.2.7"]
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 512, "Hard": 1024}]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert set(found["NetworkSettings"]["Networks"]) == {"bridge", "shop-net"}
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("clerk", "/www", "SIGINT")
    assert "PORT=9000" in config["Env"]


def test_roles_of_several_instances_count_together(bench: Any) -> None:
    roles = tuple(replace(spec, replicas=2) for spec in bench.generation().roles)
    generation = bench.generation("g1", *roles)
    bench.up(generation)
    web = bench.of("g1", Role.WEB)
    assert len(web.addresses) == len({*web.addresses}) == 2
    assert all(probe(*_place(address), "/healthz") == "" for address in web.addresses)
    bench.engine.docker("rm", "--force", bench.name("g1", Role.WEB, 2))
    assert not bench.of("g1", Role.WEB).running
    assert bench.of("g1", Role.WEB).pid, "one still runs"
    seen = bench.driver.ready(generation, Role.WEB)
    assert (seen.running, seen.detail) == (False, "web 2: there is no container of it")
    names = {item.name for item in bench.driver.evidence()}
    assert {"g1/web.1.log", "g1/worker.1.log", "g1/worker.2.log"} <= names


def test_instances_are_started_at_once(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(3)
    start = Engine.start

    def together(self: Engine, id: str) -> str:
        meeting.wait(20)
        return start(self, id)

    monkeypatch.setattr(Engine, "start", together)
    bench.up(bench.generation("g1", replace(bench.generation().roles[0], replicas=3)), Role.WEB)
    assert len(bench.of("g1", Role.WEB).addresses) == 3


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def test_a_foreign_container_with_our_name_is_named_and_left_alone(bench: Any) -> None:
    generation = bench.generation()
    bench.driver.prepare(generation)
    name = bench.name("g1", Role.WEB)
    foreign = bench.engine.docker("create", "--name", name, generation.image.config, "/app/worker")
    try:
        for call in (
            lambda: bench.driver.start(generation, BOTH),
            lambda: bench.driver.ready(generation, Role.WEB),
        ):
            error = raised(call)
            assert isinstance(error, Rejected)
            assert name in str(error)
        bench.driver.stop("g1", BOTH)
        bench.driver.remove("g1")
        assert bench.inspect(name)["Id"] == foreign
        assert bench.driver.status() == ()
        assert any(
            d.detail == "somebody else's container has its name" for d in bench.driver.drift(generation)
        )
    finally:
        bench.engine.docker("rm", "--force", foreign)


def test_one_that_was_made_from_something_else_is_not_used(bench: Any) -> None:
    """It is stopped and put aside with its logs; what was asked for is made."""
    bench.up(bench.generation())
    before = bench.instance("g1", Role.WORKER)
    bench.settings["roles"] = {"worker": {"pids": 64}}
    generation = bench.generation()
    seen = bench.driver.ready(generation, Role.WORKER)
    assert (seen.running, "made from something else" in seen.detail) == (False, True)
    bench.up(generation)
    after = bench.instance("g1", Role.WORKER)
    assert after.id != before.id
    aside = bench.inspect(before.id)
    assert aside["Name"] == f"/{before.name}.aside.{before.id[:12]}"
    assert aside["State"]["Status"] == "exited"
    assert aside["HostConfig"]["RestartPolicy"]["Name"] == "no"
    assert bench.of("g1", Role.WORKER).pid == after.pid
    bench.driver.stop("g1", BOTH)
    bench.driver.remove("g1")
    assert not [name for name in bench.names() if ".hold." not in name]


def test_a_port_that_somebody_took_meanwhile_is_changed(bench: Any) -> None:
    generation = bench.generation()
    bench.up(generation, Role.WEB)
    bench.driver.stop("g1", [Role.WEB])
    before = bench.instance("g1", Role.WEB)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", before.port))
        taken.listen()
        bench.up(generation, Role.WEB)
    assert bench.of("g1", Role.WEB).addresses != (f"127.0.0.1:{before.port}",)
    assert f"{before.name}.aside.{before.id[:12]}" in bench.names()


def test_ports_of_stopped_generations_are_not_given_away(bench: Any) -> None:
    bench.settings["ports"] = [21500, 21501]
    for id in ("g1", "g2"):
        bench.up(bench.generation(id), Role.WEB)
        bench.driver.stop(id, [Role.WEB])
    error = raised(lambda: bench.start(bench.generation("g3"), Role.WEB))
    assert isinstance(error, Rejected)
    assert "no port from 21500 to 21501 is free" in str(error)


def test_one_that_somebody_paused_goes_on(bench: Any) -> None:
    generation = bench.generation()
    bench.up(generation, Role.WORKER)
    bench.engine.docker("pause", bench.name("g1", Role.WORKER))
    paused = bench.of("g1", Role.WORKER)
    assert (paused.running, paused.detail) == (False, "paused")
    assert paused.pid, "what must not run twice is there all the same"
    bench.up(generation, Role.WORKER)
    bench.engine.docker("pause", bench.name("g1", Role.WORKER))
    bench.driver.stop("g1", [Role.WORKER])
    assert bench.of("g1", Role.WORKER).pid == 0


def test_stopping_is_polite_and_then_forceful_and_all_at_once(bench: Any) -> None:
    deaf = "trap '' TERM; while :; do sleep 1000 & wait; done"
    kind = "trap 'echo bye; exit 0' TERM; while :; do sleep 1000 & wait; done"
    specs = (
        RoleSpec(Role.WORKER, ("/bin/sh", "-c", deaf), stop_grace=0.5, replicas=2),
        RoleSpec(Role.SCHEDULER, ("/bin/sh", "-c", kind), stop_grace=30.0),
    )
    bench.up(bench.generation("g1", *specs))
    done = threading.Event()
    stopper = threading.Thread(target=lambda: (bench.driver.stop("g1", list(Role)), done.set()))
    stopper.start()
    assert done.wait(20)
    stopper.join()
    assert bench.instance("g1", Role.WORKER).exit_code == 137
    assert bench.instance("g1", Role.SCHEDULER).exit_code == 0
    assert bench.engine.docker("logs", bench.name("g1", Role.SCHEDULER)) == "bye"


def test_one_that_is_about_to_be_restarted_is_stopped_for_good(bench: Any) -> None:
    spec = RoleSpec(Role.WORKER, ("/bin/sh", "-c", "exit 1"))
    generation = bench.generation("g1", spec)
    bench.start(generation)
    eventually(lambda: bench.instance("g1", Role.WORKER).restarts >= 3)
    assert bench.of("g1", Role.WORKER).pid != 0, "it will run again, so it may not be taken for ended"
    bench.driver.stop("g1", [Role.WORKER])
    assert bench.instance("g1", Role.WORKER).state == "exited"
    assert bench.of("g1", Role.WORKER).pid == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": None}, "has no image"),
        ({"roles": (RoleSpec(Role.WEB, ("{artifact}/run",)),)}, "which a container has not"),
    ],
)
def test_what_can_not_be_a_container_is_refused(bench: Any, change: dict[str, Any], words: str) -> None:
    generation = replace(bench.generation(), artifact=Artifact.of(()), **change)
    error = raised(lambda: bench.driver.prepare(generation))
    assert isinstance(error, InvalidInput)
    assert words in str(error)


def test_what_the_engine_refuses_is_said_in_its_words(bench: Any) -> None:
    bench.settings["cap_add"] = ["NO_SUCH_POWER"]
    error = raised(lambda: bench.start(bench.generation()))
    assert isinstance(error, Rejected)
    assert "NO_SUCH_POWER" in str(error)
    assert error.where == bench.engine.host
    assert not [name for name in bench.names() if ".hold." not in name]
    bench.settings = {"host": bench.engine.host, "networks": ["no-such-net"]}
    error = raised(lambda: bench.start(bench.generation()))
    assert isinstance(error, Rejected)
    assert "no-such-net" in str(error)
    assert not isinstance(error, NeverReady), "that is not the image's fault"
    assert not any(status.pid for status in bench.driver.status())
