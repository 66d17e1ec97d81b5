"""Two HAProxies before the same unit: both are told, and what they don't agree on is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.drivers.haproxy.driver import HaproxyDriver
from lastgood.ports.traffic import Leave, Share
from lastgood.testing.conformance_measures import settled
from lastgood.testing.haproxy_server import haproxy
from tests.drivers.haproxy.conftest import Lab
from tests.drivers.haproxy.relay import Fault, relay


@dataclass
class Pair:
    left: Lab
    right: Lab

    def build(self, *sockets: str) -> HaproxyDriver:
        given = sockets or (str(self.left.server.socket), str(self.right.server.socket))
        return self.left.build(sockets=list(given))

    def answers(self) -> list[set[tuple[int, str]]]:
        return [{lab.ask() for _ in range(4)} for lab in (self.left, self.right)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with haproxy(tmp_path / "left") as left, haproxy(tmp_path / "right") as right:
        labs = [Lab(server, tmp_path / "state") for server in (left, right)]
        for lab in labs:
            lab.serve()
        yield Pair(*labs)


def test_both_are_told(pair, red, blue) -> None:
    driver = pair.build()
    driver.install()
    for destination, leave in ((red, Leave.DRAIN), (blue, Leave.DRAIN), (red, Leave.CUT)):
        driver.route(destination, leave)
        assert driver.current() == destination
        assert pair.answers() == [{(200, destination.generation)}] * 2
    driver.split([Share(red, 90.0), Share(blue, 10.0)])
    assert {s.destination: round(s.percent) for s in driver.shares()} == {red: 90, blue: 10}
    driver.route(blue)
    held = [pair.left.open("/socket"), pair.right.open("/socket")]
    driver.route(red)
    assert driver.open_requests("blue") == 2
    driver.close("blue")
    assert driver.open_requests("blue") == 0
    assert not any(request.is_open() for request in held)
    for lab in (pair.left, pair.right):
        lab.server.restart()
    assert driver.current() == red


def test_with_one_down_nothing_that_can_wait_is_begun(pair, red, blue) -> None:
    driver = pair.build()
    driver.install()
    driver.route(red)
    for down in (pair.right, pair.left):
        down.server.kill()
        for act in (
            lambda: driver.route(blue),
            lambda: driver.split([Share(red, 50.0), Share(blue, 50.0)]),
            lambda: driver.close("blue"),
            driver.current,
            driver.shares,
            driver.install,
        ):
            with pytest.raises(Unreachable) as caught:
                act()
            assert caught.value.where == str(down.server.socket)
        down.server.start()
        assert driver.current() == red
        assert pair.answers() == [{(200, "red")}] * 2


def test_with_one_down_a_cut_is_carried_through_at_the_other(pair, red, blue) -> None:
    driver = pair.build()
    driver.install()
    driver.route(red)
    driver.route(blue)
    for down, up in ((pair.right, pair.left), (pair.left, pair.right)):
        down.server.kill()
        with pytest.raises(OutcomeUnknown, match="1 of 2 HAProxies did not follow") as caught:
            driver.route(red, Leave.CUT)
        assert caught.value.where == str(down.server.socket)
        assert caught.value.cause is Cause.DEPENDENCY_DOWN
        assert {up.ask() for _ in range(4)} == {(200, "red")}
        down.server.start()
        assert driver.current() == red, "it loads what was written down for it"
        driver.route(red, Leave.CUT)
        driver.route(blue)
    for lab in (pair.left, pair.right):
        lab.server.kill()
    with pytest.raises(Unreachable):
        driver.route(red, Leave.CUT)


@pytest.mark.parametrize("leave", Leave)
def test_when_one_goes_away_half_way_it_is_not_known(pair, red, blue, leave) -> None:
    driver = pair.build()
    driver.install()
    driver.route(red)
    driver.route(blue)
    driver.route(red)
    with relay(pair.right.server.socket) as between:

        def cut(number: int, line: str) -> None:
            if "state ready" in line:
                between.fault, between.at = Fault.BEFORE, number

        between.on_line = cut
        with pytest.raises(OutcomeUnknown):
            pair.build(str(pair.left.server.socket), between.address).route(blue, leave)
    assert pair.left.ask() == (200, "blue")
    assert pair.right.ask() == (200, "red")
    with pytest.raises(Rejected, match="don't agree") as caught:
        driver.current()
    assert "blue" in str(caught.value)
    assert "red" in str(caught.value)
    assert {s.destination: s.percent for s in driver.shares()} == {red: 50.0, blue: 50.0}
    driver.install()
    driver.route(blue, leave)
    assert driver.current() == blue
    assert pair.answers() == [{(200, "blue")}] * 2


def test_one_that_forgot_is_filled_again_in_the_same_slots(pair, red, blue) -> None:
    driver = pair.build()
    driver.install()
    driver.route(blue)
    driver.route(red)
    text = pair.right.server.config.read_text()
    pair.right.server.config.write_text(text.replace("load-server-state-from-file local", ""))
    pair.right.server.restart()
    with pytest.raises(Rejected, match="to nowhere"):
        driver.current()
    driver.route(red)
    assert driver.current() == red
    slots = [
        {n: s.address for n, s in lab.look().servers.items() if s.receives} for lab in (pair.left, pair.right)
    ]
    assert slots[0] == slots[1]


def test_requests_are_counted_at_those_that_answer(pair, red) -> None:
    driver = pair.build()
    driver.install()
    driver.route(red)
    signal = Signal("answered", SignalKind.RATIO, "haproxy", {"generation": "red"})
    cursor = driver.begin(signal)
    pair.left.ask()
    pair.right.ask("/?status=500")
    first = settled(driver, signal, cursor, 2)
    assert (first.good, first.error) == (1, "")
    pair.right.server.kill()
    pair.left.ask("/?status=500")
    second = settled(driver, signal, first.cursor, 3)
    assert (second.good, second.error) == (1, "")
    pair.right.server.start()
    pair.right.ask()
    assert settled(driver, signal, second.cursor, 4).good == 2


def test_evidence_names_each(pair, red) -> None:
    driver = pair.build()
    driver.install()
    driver.route(red)
    pair.right.server.kill()
    items = {item.name: item.content.decode() for item in driver.evidence()}
    assert "storefront.prod.us,lg1" in items["haproxy-1-stat.csv"]
    assert "does not answer" in items["haproxy-2-stat.csv"]
    assert "does not answer" in items["haproxy-observed.json"]
