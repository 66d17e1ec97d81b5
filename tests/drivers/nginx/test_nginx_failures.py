"""What may go wrong: other people's mistakes, crashes, rights, a full disk, an nginx that is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.drivers.nginx import control
from lastgood.ports.traffic import Destination, Leave, Share
from lastgood.testing.nginx_server import executable


@pytest.fixture
def driver(lab, red, blue):
    """``red`` gets all requests, and nginx knows ``blue``."""
    driver = lab.build()
    driver.install()
    driver.route(blue)
    driver.route(red)
    return driver


@pytest.fixture
def green(red) -> Destination:
    """nginx doesn't know it."""
    return Destination("green", red.addresses)


def test_a_mistake_of_somebody_else_is_named_and_in_nobodys_way_back(lab, driver, red, blue, green) -> None:
    text = lab.file.read_text()
    lab.server.http = "no_such_directive on;"
    lab.server.write_conf()
    line = next(
        number for number, line in enumerate(lab.server.conf.read_text().splitlines(), 1) if "no_such" in line
    )
    with pytest.raises(Rejected, match='unknown directive "no_such_directive"') as caught:
        driver.route(green)
    assert caught.value.where == f"{lab.server.conf}:{line}"
    assert lab.file.read_text() == text
    for destination, leave in ((blue, Leave.CUT), (red, Leave.DRAIN), (blue, Leave.DRAIN)):
        driver.install()
        driver.route(destination, leave)
        assert (driver.current(), lab.ask()) == (destination, (200, destination.generation))
    driver.split([Share(red, 50), Share(blue, 50)])


def test_options_that_nginx_refuses_are_not_left_behind(lab, driver, red, green) -> None:
    text = lab.file.read_text()
    wrong = lab.build(upstream_options=["keepalive many"])
    wrong.install()
    with pytest.raises(Rejected, match='invalid value "many"') as caught:
        wrong.route(green)
    assert caught.value.where.startswith(f"{lab.file}:")
    assert lab.file.read_text() == text
    lab.server.restart()
    assert (driver.current(), lab.ask()) == (red, (200, "red"))


def test_a_first_install_that_nginx_refuses_leaves_the_location_as_it_was(lab) -> None:
    before = lab.location.read_text()
    lab.server.http = "no_such_directive on;"
    lab.server.write_conf()
    with pytest.raises(Rejected):
        lab.build().install()
    assert lab.location.read_text() == before
    assert not lab.file.exists()
    lab.server.http = ""
    lab.server.write_conf()
    lab.build().install()
    assert lab.build().current() == Destination()


def test_an_nginx_that_is_down_is_said_to_be(lab, driver, red, blue, green) -> None:
    text = lab.file.read_text()
    lab.server.kill()
    for call in (driver.install, driver.current, driver.shares, driver.observe):
        with pytest.raises(Unreachable) as caught:
            call()
        assert caught.value.cause is Cause.DEPENDENCY_DOWN
        assert caught.value.todo
    for destination in (blue, green):
        with pytest.raises(Unreachable):
            driver.route(destination)
    assert lab.file.read_text() == text
    lab.server.start()
    assert (driver.current(), lab.ask()) == (red, (200, "red"))
    driver.route(green)
    assert driver.current() == green


@pytest.mark.parametrize(
    "content",
    [None, "", "none\n", "999999999\n", f"{os.getpid()}\n"],
    ids=["gone", "empty", "words", "nobody", "somebody"],
)
def test_a_stale_pid_file_is_noticed(lab, driver, red, blue, green, tmp_path, content) -> None:
    path = tmp_path / "stale.pid"
    if content is not None:
        path.write_text(content)
    stale, text = lab.build(pid=str(path)), lab.file.read_text()
    with pytest.raises(Unreachable, match="nginx does not run") as caught:
        stale.route(green)
    assert (caught.value.where, lab.file.read_text()) == (str(path), text)
    stale.route(blue)
    assert lab.ask() == (200, "blue")


def test_a_reload_that_never_takes_effect(lab, driver, red, green, monkeypatch) -> None:
    lazy = lab.build(reload=["true"])
    with monkeypatch.context() as patch:
        patch.setattr(control, "RELOAD_SECONDS", 0.3)
        with pytest.raises(OutcomeUnknown, match="still serves its old configuration"):
            lazy.route(green)
    assert (driver.current(), lab.ask()) == (red, (200, "red"))
    driver.route(green)
    assert driver.current() == green


def test_killed_after_a_reload_a_later_refusal_puts_back_what_is_loaded(lab, driver, red, green) -> None:
    killing = ["sh", "-c", KILLS["after the reload"][1](lab) + "; sleep 0.5; kill -9 $PPID; sleep 5"]
    child(lab, "once", green, reload=killing).communicate()
    loaded = lab.file.read_text()
    assert "generation green" in loaded
    with pytest.raises(Rejected):
        lab.build(upstream_options=["keepalive many"]).route(Destination("later", red.addresses))
    assert lab.file.read_text() == loaded
    lab.server.http = "no_such_directive on;"
    lab.server.write_conf()
    driver.route(green)
    assert driver.current() == green


def test_without_a_master_requests_can_still_be_sent_back(lab, driver, red, blue) -> None:
    """Its workers go on, and so does the link."""
    workers = lab.server.accepting()
    os.kill(lab.server.pid, signal.SIGKILL)
    try:
        driver.install()
        driver.route(blue)
        assert (driver.current(), lab.ask()) == (blue, (200, "blue"))
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)


def test_a_reload_that_nginx_gives_up_is_told_with_its_reason(lab, driver, red, green) -> None:
    text = lab.file.read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lab.server.http = f"server {{ listen 127.0.0.1:{taken.getsockname()[1]}; }}"
        lab.server.write_conf()
        with pytest.raises(Rejected, match="Address already in use") as caught:
            driver.route(green)
    assert caught.value.where == str(lab.server.error_log)
    assert lab.file.read_text() == text
    assert (driver.current(), lab.ask()) == (red, (200, "red"))


def test_a_command_that_fails_is_told_with_what_it_said(lab, driver, green) -> None:
    text = lab.file.read_text()
    failing = lab.build(reload=["sh", "-c", "echo not today >&2; exit 3"])
    with pytest.raises(Rejected, match="not today"):
        failing.route(green)
    assert lab.file.read_text() == text
    with pytest.raises(Rejected) as caught:
        lab.build(binary="/no/such/nginx").route(green)
    assert caught.value.cause is Cause.WRONG_PATH


ROUTE = """
import json, os, resource, sys
from lastgood.domain.errors import Rejected
from lastgood.domain.unit import UnitId
from lastgood.drivers.nginx.driver import create
from lastgood.ports.traffic import Destination

settings, destinations, how = json.loads(sys.argv[1])
driver = create(UnitId("storefront", "prod", "us"), settings, None)
driver.current()  # everything is imported before the user changes
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
if how == "nobody":
    os.setuid(65534)
print("ready", flush=True)
try:
    while True:
        for generation, addresses in destinations:
            driver.route(Destination(generation, tuple(addresses)))
        if how != "loop":
            break
    print("done")
except Rejected as error:
    print(error.cause.value if error.cause else "no cause", "|", error)
"""


def child(lab, how: str, *destinations: Destination, **settings) -> subprocess.Popen[bytes]:
    given = json.dumps([lab.settings(**settings), [(d.generation, d.addresses) for d in destinations], how])
    return subprocess.Popen([sys.executable, "-c", ROUTE, given], stdout=subprocess.PIPE)


def test_a_full_disk_stops_no_way_back(lab, driver, red, blue, green) -> None:
    """Played by a file size limit of 0: write() fails in the same place."""
    text = lab.file.read_text()
    assert child(lab, "full", green).communicate()[0].decode().startswith("ready\nno cause | ")
    assert (lab.file.read_text(), driver.current()) == (text, red)
    assert child(lab, "full", blue).communicate()[0].decode() == "ready\ndone\n"
    assert driver.current() == blue


def test_without_rights_nothing_changes(lab, driver, red, blue, green) -> None:
    text = lab.file.read_text()
    lab.server.directory.parent.chmod(0o755)
    for destination in (blue, green):
        output = child(lab, "nobody", destination).communicate()[0].decode()
        assert output.startswith("ready\npermission | ")
    assert (lab.file.read_text(), driver.current()) == (text, red)


KILLS = {
    "before the test": ("binary", lambda lab: "true"),
    "before the reload": ("reload", lambda lab: "true"),
    "after the reload": ("reload", lambda lab: f"kill -HUP $(cat {lab.server.pid_file})"),
}


@pytest.mark.parametrize("moment", KILLS)
def test_killed_on_the_way_to_a_new_generation_it_goes_on_next_time(lab, driver, red, green, moment) -> None:
    """The command that nginx is told with kills its parent: us."""
    setting, command = KILLS[moment]
    killing = ["sh", "-c", f"{command(lab)}; kill -9 $PPID; sleep 5", "-"]
    process = child(lab, "once", green, **{setting: killing})
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert lab.ask() == (200, "red")
    assert "generation green" in lab.file.read_text()
    again = lab.build()
    assert again.current() == red
    again.install()
    again.route(green)
    assert (again.current(), lab.ask()) == (green, (200, "red"))


@pytest.mark.parametrize("first", ["install", "route"])
def test_killed_before_the_test_of_a_wrong_file_it_is_taken_back(lab, driver, blue, green, first) -> None:
    text = lab.file.read_text()
    killing = ["sh", "-c", "kill -9 $PPID; sleep 5", "-"]
    child(lab, "once", green, binary=killing, upstream_options=["keepalive many"]).communicate()
    assert lab.file.read_text() != text
    workers = lab.server.accepting()
    if first == "install":
        driver.install()
        assert lab.file.read_text() == text
    driver.route(blue)
    assert lab.file.read_text() == text
    assert lab.server.accepting() == workers
    assert lab.ask() == (200, "blue")


def test_killed_while_flipping_the_link_is_whole(lab, driver, red, blue) -> None:
    for _ in range(4):
        process = child(lab, "loop", red, blue)
        assert process.stdout is not None
        process.stdout.readline()
        seen: set[Path] = set()
        deadline = time.monotonic() + 5
        while len(seen) < 2 and time.monotonic() < deadline:
            seen.add(lab.link.readlink())
        process.kill()
        process.communicate()
        assert len(seen) == 2
        assert lab.build().current() in (red, blue)
        assert lab.ask()[0] == 200
    lab.build().route(blue)
    assert lab.build().current() == blue


def test_links_changed_by_hand_are_seen_and_put_right(lab, driver, red, blue) -> None:
    lab.link.unlink()
    assert lab.ask()[0] == 200, "the upstream that had the requests when nginx was told last"
    assert driver.current().generation == lab.ask()[1]
    driver.install()
    driver.route(red)
    states = lab.link.with_name(f".{lab.unit.slug}")
    (lab.link / "7").unlink()
    (lab.link / "7").symlink_to(f"../{next(p.name for p in states.iterdir() if p.name.startswith('blue'))}")
    # Each of a request's three digits may be the seven that leads elsewhere.
    assert driver.shares() == (Share(red, 72.9), Share(blue, 27.1))
    driver.route(red)
    assert driver.shares() == (Share(red, 100),)


def test_the_nginx_of_the_tests_is_the_real_one() -> None:
    version = subprocess.run([executable(), "-v"], capture_output=True, text=True, check=True).stderr
    assert version.startswith("nginx version: nginx/1.")
