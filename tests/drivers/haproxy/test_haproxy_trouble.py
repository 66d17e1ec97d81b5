"""What HAProxy and the operating system refuse, said with its cause and the next thing to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from lastgood.domain.errors import Cause, InvalidInput, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.unit import UnitId
from lastgood.drivers.haproxy import runtime
from lastgood.drivers.haproxy.driver import create
from lastgood.drivers.haproxy.servers import Unreadable, parse
from lastgood.drivers.haproxy.settings import Settings
from lastgood.drivers.haproxy.snippet import slot_line
from lastgood.ports.traffic import Destination, Leave
from lastgood.testing.caddy_server import free_port
from tests.drivers.haproxy.relay import relay


def everything(driver, red):
    """Each thing that needs HAProxy."""
    return (
        driver.install,
        driver.current,
        driver.shares,
        driver.observe,
        lambda: driver.route(red),
        lambda: driver.route(red, Leave.CUT),
        lambda: driver.open_requests("red"),
        lambda: driver.close("red"),
    )


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_a_haproxy_that_is_not_there(lab, red, over) -> None:
    driver = lab.build(**({"sockets": [lab.server.tcp]} if over == "tcp" else {}))
    driver.install()
    driver.route(red)
    lab.server.kill()
    for act in everything(driver, red):
        with pytest.raises(Unreachable, match="does not answer") as caught:
            act()
        assert caught.value.cause is Cause.DEPENDENCY_DOWN
        assert caught.value.todo
        assert caught.value.where in (str(lab.server.socket), lab.server.tcp)
    lab.server.start()
    assert driver.current() == red


def test_a_socket_that_answers_nothing(lab, red, monkeypatch) -> None:
    lab.build().install()
    monkeypatch.setattr(runtime, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        driver = lab.build(sockets=[f"127.0.0.1:{deaf.getsockname()[1]}"])
        with pytest.raises(Unreachable, match="timed out"):
            driver.route(red)
        with pytest.raises(OutcomeUnknown, match="timed out"):
            driver._apis[0].change(["set server a/b state ready"])


def test_something_else_at_the_socket(lab, red) -> None:
    driver = lab.build(sockets=[red.addresses[0]])
    with pytest.raises(Rejected, match=r"not that of HAProxy 2\.6 or later"):
        driver.install()


def test_a_socket_that_may_only_look(lab, red) -> None:
    """Both what HAProxy says to install, and to a change."""
    text = lab.server.config.read_text()
    for level, changes in (("operator", True), ("user", False)):
        port = free_port()
        lab.server.config.write_text(
            text.replace("global\n", f"global\n    stats socket ipv4@127.0.0.1:{port} level {level}\n")
        )
        lab.server.reload()
        driver = lab.build(sockets=[f"127.0.0.1:{port}"])
        lab.build().install()
        for act, given in ((driver.install, ()), (driver.route, (red,))):
            with pytest.raises(Rejected, match="does not let this socket") as caught:
                act(*given)
            assert caught.value.cause is Cause.PERMISSION
            assert "level admin" in str(caught.value.todo)
        if changes:
            assert driver.current() == Destination()


LOOK = """
import os, sys
from lastgood.domain.errors import Rejected
from lastgood.drivers.haproxy.runtime import RuntimeApi
if os.geteuid() == 0:
    os.setuid(65534)
try:
    RuntimeApi(sys.argv[1], "x").look()
except Rejected as error:
    print(error.cause.value, "|", error)
"""


def test_a_socket_of_another_user(lab) -> None:
    lab.server.socket.chmod(0o000)
    found = subprocess.run(
        [sys.executable, "-c", LOOK, str(lab.server.socket)], stdout=subprocess.PIPE, text=True, check=True
    )
    assert found.stdout.startswith("permission | the runtime API of HAProxy may not be used")


def test_what_the_backend_lacks_is_told_as_lines(bare) -> None:
    bare.serve()
    text = bare.server.config.read_text()
    slots = next(line for line in text.splitlines() if "server-template" in line)
    wanted = slot_line(bare.settings())
    cases = {
        "one slot": (slots, "    server lg1 free.invalid:1 disabled init-addr last,127.0.0.1"),
        "no names": (slots, "    server-template lg 1-8 127.0.0.1:1 disabled check"),
        "other names": (
            slots,
            "    server-template slot 1-8 free.invalid:1 disabled init-addr last,127.0.0.1",
        ),
    }
    for case, (old, new) in cases.items():
        bare.server.config.write_text(text.replace(old, new))
        bare.server.reload()
        with pytest.raises(Rejected) as caught:
            bare.build().install()
        assert str(caught.value.todo).endswith(wanted), case
        assert not bare.build()._settings.record_file.exists()
    bare.build(slots="slot").install()
    bare.server.config.write_text(text.replace("mode http", "mode tcp"))
    bare.server.reload()
    with pytest.raises(Rejected) as caught:
        bare.build().install()
    assert str(caught.value.todo).splitlines()[-1] == "mode http"


def test_the_lines_that_are_asked_for_are_enough(bare, red) -> None:
    """As a new user copies them."""
    settings = bare.settings()
    bare.server.serve_text("")
    with pytest.raises(Rejected) as caught:
        bare.build().install()
    lines = str(caught.value.todo).split("\n", 1)[1]
    front = f"frontend f\n    bind {bare.listen}\n    default_backend {settings.backend}\n"
    bare.server.serve_text(f"{front}{lines}\n")
    bare.build().install()
    bare.build().route(red)
    bare.server.restart()
    assert (bare.build().current(), bare.ask()) == (red, (200, "red"))


def test_a_frontend_may_be_called_like_the_backend(bare, red, blue) -> None:
    """As most people's are: then HAProxy tells of the frontend when it is asked for statistics by name."""
    name = bare.unit.slug
    bare.serve()
    text = bare.server.config.read_text()
    bare.server.config.write_text(text.replace(f"frontend {name}.front", f"frontend {name}"))
    bare.server.reload()
    driver = bare.build()
    driver.install()
    for destination in (red, blue):
        driver.route(destination)
        assert (driver.current(), bare.ask()) == (destination, (200, destination.generation))
    assert {
        row["pxname"] for row in (bare.look().backend, *(s.row for s in bare.look().servers.values()))
    } == {name}
    (stat,) = [item for item in driver.evidence() if item.name == "haproxy-stat.csv"]
    assert f"{name},BACKEND,".encode() in stat.content


@pytest.mark.parametrize("version", ["2.4.22", "1.8.0", "?"])
def test_an_old_haproxy_is_told(lab, version) -> None:
    with relay(lab.server.socket) as between:
        between.on_answer = lambda n, text: text.replace("Version: 2.", f"Version: {version}\nWas: 2.")
        with pytest.raises(Rejected, match="too old"):
            lab.build(sockets=[between.address]).install()


def test_a_command_that_is_refused_is_told(lab) -> None:
    api = lab.build()._apis[0]
    for command, told in (
        ("set server storefront.prod.us/none state ready", "No such server"),
        ("set server none/lg1 state ready", "No such backend"),
        ("set server storefront.prod.us/lg1 weight 300", "between 0 and 256"),
        ("frobnicate", "Unknown command"),
    ):
        with pytest.raises(Rejected, match=told) as caught:
            api.change(["set server storefront.prod.us/lg1 weight 100%", command])
        assert caught.value.todo


def test_more_commands_than_a_line_holds_are_all_run(lab) -> None:
    api, names = lab.build()._apis[0], list(lab.look().servers)
    api.change([f"set server {lab.unit.slug}/{names[n % 8]} weight {n % 250}" for n in range(1000)])
    assert [server.weight for server in lab.look().servers.values()] == [n % 250 for n in range(992, 1000)]


@pytest.mark.parametrize(
    "text", ["", "Name: HAProxy\n\n", "1\n# be_id\n\n", "Name: x\n\n1\n# a\n\n# pxname,svname\n\n"]
)
def test_what_cannot_be_read_is_no_view(text) -> None:
    with pytest.raises(Unreadable):
        parse("x", "shop", text)


UNIT = UnitId("storefront", "prod", "us")
BASE = {"sockets": ["/run/haproxy/admin.sock"], "listen": "127.0.0.1:80", "state": "/var/lib/lastgood"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sockets": None}, "sockets"),
        ({"sockets": []}, "sockets"),
        ({"sockets": ["run/x"]}, "sockets"),
        ({"sockets": ["/run/a b"]}, "sockets"),
        ({"sockets": ["/run/a", "/run/a"]}, "sockets"),
        ({"sockets": [1]}, "sockets"),
        ({"listen": None}, "listen"),
        ({"listen": "8080"}, "listen"),
        ({"listen": "127.0.0.1:70000"}, "listen"),
        ({"backend": "a b"}, "backend"),
        ({"slots": "1"}, "slots"),
        ({"slots": ""}, "slots"),
        ({"state": None}, "state"),
        ({"state": "relative"}, "state"),
        ({"state": "/a/../b"}, "state"),
        ({"state": "/a b"}, "state"),
        ({"check_wait": -1}, "check_wait"),
        ({"check_wait": True}, "check_wait"),
        ({"cut_grace": "1"}, "cut_grace"),
        ({"upstream": "x"}, "upstream"),
    ],
)
def test_a_wrong_setting_is_named(changes, named) -> None:
    values = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    with pytest.raises(InvalidInput, match=f"'{named}'") as caught:
        Settings.of(UNIT, values)
    assert caught.value.todo
    assert caught.value.where == str(UNIT)


def test_one_socket_need_not_be_a_list_and_the_state_has_a_place(tmp_path) -> None:
    class Tools:
        directory = tmp_path

    values = {"sockets": "/run/haproxy/admin.sock", "listen": "127.0.0.1:80"}
    driver = create(UNIT, values, Tools())  # type: ignore[arg-type]
    assert driver._settings.sockets == ("/run/haproxy/admin.sock",)
    assert driver._settings.state_file == tmp_path / "storefront.prod.us.state"
    assert create(UNIT, {"codes": ["5xx"], "target": values}, Tools()).address() == "127.0.0.1:80"  # type: ignore[arg-type]


def test_sockets_are_closed(lab, red) -> None:
    driver = lab.build()
    driver.install()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(20):
        driver.current()
        driver.route(red)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
