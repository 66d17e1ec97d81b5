"""A wrong setting is named where it stands, with what is right."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.errors import InvalidInput
from lastgood.domain.image import Image
from lastgood.domain.release import RoleSpec
from lastgood.domain.unit import Role, UnitId
from lastgood.drivers.docker.content import Owner, owner_from
from lastgood.drivers.docker.driver import create
from lastgood.drivers.docker.labels import instance_name
from lastgood.drivers.docker.options import RoleOptions, Ulimit, Volume
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.drivers.docker.ssh import command
from lastgood.drivers.docker.wanted import Wanted
from lastgood.ports.drivers import Generation
from lastgood.testing.conformance_runs import raised
from lastgood.testing.fake_files import FakeTools

UNIT = UnitId("shop", "prod", "us")


def parse(**values: Any) -> DockerSettings:
    return DockerSettings.parse(values, str(UNIT))


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"hots": "x"}, "hots"),
        ({"host": "http://engine"}, "host"),
        ({"host": "tcp://engine"}, "host"),
        ({"host": "tcp://engine:0"}, "host"),
        ({"host": "tcp://engine:70000"}, "host"),
        ({"host": "unix://relative.sock"}, "host"),
        ({"host": "ssh://user:word@engine"}, "host"),
        ({"host": 5}, "host"),
        ({"tls": {"ca": "/ca", "cert": "/c", "key": "/k"}}, "tls"),
        ({"host": "tcp://e:2376", "tls": {"ca": "/none/ca.pem"}}, "tls.ca"),
        ({"host": "tcp://e:2376", "tls": {"cacert": "/ca"}}, "tls.cacert"),
        ({"ssh_config": "/etc/passwd"}, "ssh_config"),
        ({"address": "127.0.0.1:80"}, "address"),
        ({"ports": 8080}, "ports"),
        ({"ports": [9000, 8000]}, "ports"),
        ({"ports": [1, "2"]}, "ports"),
        ({"network": "none"}, "network"),
        ({"network": "a b"}, "network"),
        ({"config": "etc/lastgood"}, "config"),
        ({"config": "/etc/../lastgood"}, "config"),
        ({"secrets": "file"}, "secrets"),
        ({"roles": []}, "roles"),
        ({"roles": {"wbe": {}}}, "roles.wbe"),
        ({"roles": {"web": {"mem": 1}}}, "roles.web.mem"),
        ({"roles": {"web": {"memory": "lots"}}}, "roles.web.memory"),
        ({"memory": True}, "memory"),
        ({"memory": "0"}, "memory"),
        ({"cpus": 0}, "cpus"),
        ({"pids": 1.5}, "pids"),
        ({"port": "8080"}, "port"),
        ({"volumes": ["data"]}, "volumes"),
        ({"volumes": ["data:relative"]}, "volumes"),
        ({"volumes": ["a:/x", "b:/x"]}, "volumes"),
        ({"volumes": ["a:/etc"]}, "roles.web.volumes"),
        ({"tmpfs": ["/etc/lastgood"]}, "roles.web.tmpfs"),
        ({"secrets": "files", "roles": {"worker": {"tmpfs": ["/run"]}}}, "roles.worker.tmpfs"),
        (
            {"memory": "1g", "roles": {"worker": {"memory_reservation": "2g"}}},
            "roles.worker.memory_reservation",
        ),
        ({"network": "host", "networks": ["shop"]}, "roles.web.networks"),
        ({"log": {"driver": ""}}, "log.driver"),
        ({"log": {"drivr": "local"}}, "log.drivr"),
        ({"ulimits": {"nofile": {"soft": 1}}}, "ulimits.nofile.hard"),
        ({"healthcheck": True}, "healthcheck"),
        ({"healthcheck": {"disabled": True}}, "healthcheck.disabled"),
        ({"healthcheck": {"disable": "yes"}}, "healthcheck.disable"),
        ({"extra_hosts": ["alone"]}, "extra_hosts"),
        ({"stop_signal": "TERM"}, "stop_signal"),
        ({"read_only": "yes"}, "read_only"),
        ({"user": ""}, "user"),
        ({"entrypoint": "/bin/sh"}, "entrypoint"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], key: str) -> None:
    error = raised(lambda: parse(**values))
    assert isinstance(error, InvalidInput)
    assert error.what.params["key"] == key
    assert str(error.todo)
    assert error.where == str(UNIT)


def test_what_is_left_out_is_a_local_engine_on_loopback() -> None:
    made = parse()
    assert (made.host, made.address, made.is_local) == ("unix:///var/run/docker.sock", "127.0.0.1", True)
    assert (made.network, made.config, made.secrets) == ("bridge", "/etc/lastgood", "environment")
    assert made.role(Role.SCHEDULER) == RoleOptions()


def test_the_address_is_the_engine_s_host() -> None:
    assert parse(host="ssh://ops@db1.test").address == "db1.test"
    assert parse(host="tcp://192.0.2.7:2376").address == "192.0.2.7"
    assert parse(host="tcp://[fd00::7]:2376").address == "fd00::7"
    assert parse(host="ssh://ops@db1.test", address="10.0.0.7").address == "10.0.0.7"


def test_a_role_s_own_options_lie_over_those_of_all() -> None:
    made = parse(
        memory="256m",
        volumes=["data:/data"],
        roles={"web": {"memory": "1g", "volumes": ["/srv/www:/www:ro"], "ulimits": {"nofile": 99}}},
    )
    web, worker = made.role(Role.WEB), made.role(Role.WORKER)
    assert (web.memory, worker.memory) == (1 << 30, 256 << 20)
    assert web.volumes == (Volume("/srv/www", "/www", True),)
    assert worker.volumes == (Volume("data", "/data"),)
    assert web.ulimits == (Ulimit("nofile", 99, 99),)


def wanted(settings: DockerSettings) -> Wanted:
    spec = RoleSpec(Role.WEB, ())
    image = Image("registry.test/shop/web", *("sha256:" + letter * 64 for letter in "abc"))
    return Wanted(Generation("g1", UNIT, (spec,), None, None, image=image), settings, spec, 1)


@pytest.mark.parametrize(
    ("address", "bound"), [("192.0.2.7", "192.0.2.7"), ("fd00::7", "fd00::7"), ("engine.test", "")]
)
def test_a_port_is_opened_at_the_one_address_that_is_used(address: str, bound: str) -> None:
    one = wanted(parse(host="ssh://engine.test", address=address))
    ports = one.body("sha256:1", "20001", {})["HostConfig"]["PortBindings"]
    assert ports == {"8080/tcp": [{"HostIp": bound, "HostPort": "20001"}]}


def test_what_a_container_is_made_from_changes_its_digest() -> None:
    plain = wanted(parse()).digest
    assert plain == wanted(parse()).digest
    assert plain == wanted(parse(ports=[1, 2])).digest, "a port is chosen when it is made"
    for other in ({"pids": 5}, {"config": "/etc/shop"}, {"address": "127.0.0.2"}, {"network": "host"}):
        assert wanted(parse(**other)).digest != plain


def test_a_name_that_no_container_can_have_is_refused() -> None:
    assert (
        instance_name(UNIT, "sha256:" + "ab" * 32, Role.WEB, 1) == "lastgood.shop.prod.us.abababababab.web.1"
    )
    assert isinstance(raised(lambda: instance_name(UNIT, "../x", Role.WEB, 1)), InvalidInput)


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("", Owner()),
        ("0", Owner()),
        ("77:88", Owner(77, 88)),
        ("clerk", Owner(12, 34)),
        ("clerk:staff", Owner(12, 34)),
        ("nobody", None),
        ("bad", None),
    ],
)
def test_whom_a_container_runs_as(user: str, owner: Owner | None) -> None:
    assert owner_from(b"root:x:0:0::/:\nclerk:x:12:34::/:\nbad:x:\n", user) == owner


def test_ssh_asks_nobody_and_takes_no_option_for_a_host() -> None:
    argv = command("ssh://ops@engine.test:2222", None)
    assert argv[-5:] == ["--", "ops@engine.test", "docker", "system", "dial-stdio"]
    assert "BatchMode=yes" in argv
    assert argv[argv.index("-p") + 1] == "2222"


def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "lastgood.drivers.docker.driver.find_spec", lambda name: None if name == "docker" else found(name)
    )
    error = raised(lambda: create(UNIT, {}, FakeTools(tmp_path)))  # type: ignore[arg-type]
    assert isinstance(error, InvalidInput)
    assert "pip install 'lastgood[docker]'" in str(error.todo)


def test_settings_are_read_before_the_sdk_is_missed(tmp_path: Path) -> None:
    error = raised(lambda: create(UNIT, {"host": "nowhere"}, FakeTools(tmp_path)))  # type: ignore[arg-type]
    assert isinstance(error, InvalidInput)
    assert error.what.params["key"] == "host"
