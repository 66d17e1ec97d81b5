"""Reloads, restarts, lost answers and deaths at every point: afterwards traffic is where it was sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.drivers.haproxy.servers import Admin
from lastgood.ports.traffic import Destination, Leave, Share
from lastgood.testing.haproxy_server import haproxy
from tests.drivers.haproxy.conftest import STICKY, Customer, Lab, eventually, generation
from tests.drivers.haproxy.relay import Fault, relay

MOST_LINES = 30


@pytest.fixture(params=[True, False], ids=["master and worker", "one process"])
def either(request, tmp_path):
    with haproxy(tmp_path, master_worker=request.param) as server:
        lab = Lab(server, tmp_path / "state")
        lab.serve(*STICKY)
        yield lab


def test_a_reload_and_a_restart_keep_everything(either, red, blue) -> None:
    lab, driver = either, either.build()
    driver.install()
    driver.route(red)
    customer = Customer(lab.listen)
    assert customer.ask() == (200, "red")
    driver.route(blue)
    driver.route(Destination("blue", blue.addresses))
    for again in (lab.server.reload, lab.server.restart):
        again()
        assert driver.current() == blue
        assert {lab.ask() for _ in range(6)} == {(200, "blue")}
        assert Customer(lab.listen, customer.cookie).ask() == (200, "red"), "known visitors are known still"
    driver.split([Share(blue, 75.0), Share(red, 25.0)])
    for again in (lab.server.reload, lab.server.restart):
        again()
        assert {s.destination: round(s.percent) for s in driver.shares()} == {blue: 75, red: 25}
    driver.route(red, Leave.CUT)
    lab.server.restart()
    assert Customer(lab.listen, customer.cookie).ask() == (200, "red")
    assert {server.admin for server in lab.look().servers.values()} == {Admin.READY, Admin.MAINT}


def test_a_server_that_was_down_when_it_was_written_down_is_tried_at_the_start(bare, blue) -> None:
    with generation("red", "127.0.0.1") as red:
        bare.serve()
        driver = bare.build()
        driver.install()
        driver.route(red)
    eventually(lambda: not next(s for s in bare.look().servers.values() if s.receives).up)
    driver.route(Destination("both", (*blue.addresses, *red.addresses)), Leave.CUT)
    text = driver._settings.state_file.read_text()
    assert [line.split()[5] for line in text.splitlines()[2:] if " 4 1 1 " in line].count("2") == 3
    bare.server.restart()
    assert bare.ask() == (200, "blue")


def test_a_configuration_without_the_slots_is_told_with_the_lines(lab, red) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    whole = lab.server.config.read_text()
    slots = next(line for line in whole.splitlines() if "server-template" in line)
    for text, lines in ((whole.replace(slots, ""), 3), (whole.replace(lab.unit.slug, "other"), 7)):
        lab.server.config.write_text(text)
        lab.server.reload()
        with pytest.raises(Rejected, match="lacks what storefront@prod/us needs") as caught:
            driver.install()
        assert caught.value.cause is Cause.WRONG_PATH
        assert len(str(caught.value.todo).splitlines()) == 1 + lines
        assert "server-template lg 1-16 free.invalid:1" in str(caught.value.todo)
        with pytest.raises(Rejected):
            driver.route(red)
    lab.server.config.write_text(whole)
    lab.server.reload()
    driver.install()
    assert driver.current() == red


def test_a_haproxy_that_forgets_is_seen_and_put_right(lab, red, blue) -> None:
    """Its state file is not in haproxy.cfg."""
    driver = lab.build()
    driver.install()
    driver.route(blue)
    driver.route(red)
    text = lab.server.config.read_text()
    lab.server.config.write_text(text.replace("load-server-state-from-file local", ""))
    lab.server.reload()
    assert driver.current() == Destination()
    assert driver.observe().facts["saved for the next start"] is False
    driver.install()
    assert driver.current() == Destination()
    driver.route(red)
    assert (driver.current(), lab.ask()) == (red, (200, "red"))
    assert set(driver._files.record().slots) == {"lg1", "lg2", "lg3", "lg4"}


@pytest.mark.parametrize("leave", Leave)
@pytest.mark.parametrize("fault", Fault)
def test_cut_off_at_any_line_it_is_whole_after_it_was_repeated(lab, red, blue, fault, leave) -> None:
    patient = {"cut_grace": 30.0}  # the customer's own requests end by themselves, however slow the machine
    driver = lab.build(**patient)
    driver.install()
    over = threading.Event()
    answers: set[tuple[int, str]] = set()

    def ask() -> None:
        while not over.is_set():
            answers.add(lab.ask())

    driver.route(red)
    customer = threading.Thread(target=ask)
    customer.start()
    try:
        for at in range(MOST_LINES):
            driver.route(red)
            eventually(lambda: driver.open_requests("blue") == 0)
            driver.close("blue")
            with relay(lab.server.socket) as between:
                between.fault, between.at = fault, at
                through = lab.build(sockets=[between.address], **patient)
                told = None
                try:
                    through.route(blue, leave)
                except (Unreachable, OutcomeUnknown) as error:
                    told = error
                sent = any("set server" in line for line in between.lines)
                assert told is not None or len(between.lines) <= at
                assert sent or not isinstance(told, OutcomeUnknown)
                if fault is not Fault.BEFORE:
                    assert not sent or not isinstance(told, Unreachable)
            driver.route(blue, leave)
            assert driver.current() == blue
            assert driver.shares() == (Share(blue, 100.0),)
            assert driver.observe().facts["saved for the next start"] is True
            if told is None:
                break
        assert 3 <= at < MOST_LINES - 1
    finally:
        over.set()
        customer.join()
    assert answers == {(200, "red"), (200, "blue")}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_reload_at_any_line_does_not_undo_it(lab, red, blue, when) -> None:
    """It loads what was written down before."""
    driver = lab.build()
    driver.install()
    driver.route(red)
    for at in range(MOST_LINES):
        with relay(lab.server.socket) as between:

            def reload(number: int, at: int = at) -> None:
                if number == at:
                    lab.server.reload()

            def answered(number: int, text: str, reload=reload) -> str:
                reload(number)
                return text

            if when == "before":
                between.on_line = lambda number, line, reload=reload: reload(number)
            else:
                between.on_answer = answered
            lab.build(sockets=[between.address]).route(blue)
            lines = len(between.lines)
        assert driver.current() == blue
        lab.server.reload()
        assert driver.current() == blue
        driver.route(red, Leave.CUT)
        if at >= lines:
            break
    assert 5 <= at < MOST_LINES - 1


def test_a_process_that_is_stopping_is_not_believed(lab, red, blue) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    with relay(lab.server.socket) as between:
        between.on_answer = lambda n, text: text.replace("Stopping: 0", f"Stopping: {int(n < 3)}")
        assert lab.build(sockets=[between.address]).current() == red
        assert len(between.lines) == 4


def test_somebody_who_always_undoes_it_is_told(lab, red, blue) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    driver.route(blue)
    with relay(lab.server.socket) as between:

        def undo(number: int, line: str) -> None:
            if line.startswith("show info"):
                lab.tell("set server {b}/lg1 state drain")

        between.on_line = undo
        with pytest.raises(OutcomeUnknown, match="does not stay as it was told"):
            lab.build(sockets=[between.address]).route(red, Leave.CUT)


FLIP = """
import json, os, resource, sys
from pathlib import Path
from lastgood.domain.errors import Rejected
from lastgood.domain.unit import UnitId
from lastgood.drivers.haproxy.driver import HaproxyDriver
from lastgood.drivers.haproxy.settings import Settings
from lastgood.ports.traffic import Destination, Leave

values, destinations, how = json.loads(sys.argv[1])
driver = HaproxyDriver(Settings.of(UnitId("storefront", "prod", "us"), values))
driver.current()  # everything is imported before the user changes
if how.startswith("full"):
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
if how == "nobody" and os.geteuid() == 0:
    os.setuid(65534)
print("ready", flush=True)
try:
    while True:
        for generation, addresses in destinations:
            leave = Leave.CUT if how == "full cut" else Leave.DRAIN
            driver.route(Destination(generation, tuple(addresses)), leave)
        if how != "loop":
            break
except Rejected as error:
    print(error.cause.value if error.cause else "no cause", "|", error)
"""


def child(lab: Lab, how: str, *destinations: Destination, socket: str = "") -> subprocess.Popen[bytes]:
    values = {
        "sockets": [socket or str(lab.server.socket)],
        "listen": lab.listen,
        "state": str(lab.state),
    }
    given = json.dumps([values, [(d.generation, d.addresses) for d in destinations], how])
    return subprocess.Popen([sys.executable, "-c", FLIP, given], stdout=subprocess.PIPE)


def test_killed_while_flipping_it_is_whole(lab, red, blue) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    for _ in range(4):
        process = child(lab, "loop", blue, red)
        assert process.stdout is not None
        process.stdout.readline()
        seen = set()
        while len(seen) < 2:
            seen.add(lab.ask())
        process.kill()
        process.communicate()
        assert seen == {(200, "red"), (200, "blue")}
        assert driver.current() in (red, blue)
        driver.route(red)
        assert driver.current() == red
        lab.server.reload()
        assert driver.current() == red


@pytest.mark.parametrize(("how", "told"), [("full", b"no cause | "), ("nobody", b"permission | ")])
def test_without_room_for_the_record_nothing_happens(lab, red, blue, how, told) -> None:
    """A full disk is played by a file size limit of 0: write() fails in the same place."""
    driver = lab.build()
    driver.install()
    driver.route(red)
    if os.geteuid() != 0:
        lab.state.chmod(0o555)
    # Over TCP, for the unix socket is not nobody's to open.
    output = child(lab, how, blue, socket=lab.server.tcp).communicate()[0]
    lab.state.chmod(0o755)
    assert output.startswith(b"ready\n" + told), output
    assert driver.current() == red
    assert {path.suffix for path in lab.state.iterdir()} == {".json", ".state"}


@pytest.mark.parametrize("how", ["full", "full cut"])
def test_what_cannot_be_kept_for_a_reload_is_told_when_traffic_went(lab, red, blue, how) -> None:
    driver = lab.build()
    driver.install()
    driver.route(blue)
    driver.route(red)
    held = lab.open("/socket")
    output = child(lab, how, blue).communicate()[0]
    assert output.startswith(b"ready\nno cause | "), output
    assert driver.current() == blue
    assert held.is_open() is (how == "full"), "a cut ends sessions all the same"
    assert driver.observe().facts["saved for the next start"] is False
    driver.route(blue)
    assert driver.observe().facts["saved for the next start"] is True


def test_a_damaged_record_is_told(lab, red) -> None:
    driver = lab.build()
    driver.install()
    driver.route(red)
    path: Path = driver._settings.record_file
    for content in ("", "{}", '{"format": 2}', '{"format": 1, "slots": {"lg1": {}}, "originals": {}}'):
        path.write_text(content)
        with pytest.raises(Rejected, match="record of the server slots is damaged"):
            driver.current()
    path.unlink()
    assert driver.current() == Destination("", red.addresses)
    driver.install()
    driver.route(red)
    assert driver.current() == red


def test_what_a_killed_writer_left_is_swept(lab, red) -> None:
    driver = lab.build()
    driver.install()
    old, young = (lab.state / f".{lab.unit.slug}.json.new-{age}" for age in ("old", "young"))
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (1, 1))
    driver.route(red)
    assert (old.exists(), young.exists()) == (False, True)
