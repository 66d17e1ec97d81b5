"""What every driver that sees what is still open must keep; subclass it and give the fixtures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import pytest

from lastgood.ports.traffic import Destination, DrainsTraffic, Leave, ShiftsTraffic
from lastgood.testing.conformance_traffic import Ask

PATIENCE = 5.0


class DrainsAndShifts(ShiftsTraffic, DrainsTraffic):
    """A driver that does both."""


class Held(Protocol):
    """A request that is open until it is ended by one side."""

    def is_open(self) -> bool:
        """As the customer sees it."""

    def leave(self) -> None:
        """The customer goes away."""


Build = Callable[[], DrainsAndShifts]
Hold = Callable[[], Held]
"""Opens a request where they go now, and returns when it has arrived there."""


class DrainsConformance:
    """Fixtures as for ``TrafficConformance``, and ``hold``. A driver that can close can also route."""

    @pytest.fixture
    def build(self) -> Build:
        raise NotImplementedError

    @pytest.fixture
    def ask(self) -> Ask:
        raise NotImplementedError

    @pytest.fixture
    def hold(self) -> Hold:
        raise NotImplementedError

    @pytest.fixture
    def red(self) -> Destination:
        raise NotImplementedError

    @pytest.fixture
    def blue(self) -> Destination:
        raise NotImplementedError

    @pytest.fixture
    def traffic(self, build: Build, red: Destination) -> DrainsAndShifts:
        """All requests go to ``red``."""
        driver = build()
        driver.install()
        driver.route(red)
        return driver

    def test_it_says_that_it_drains_traffic(self, build: Build) -> None:
        assert isinstance(build(), DrainsTraffic)

    def test_nothing_is_open_where_nobody_was(
        self, traffic: DrainsAndShifts, red: Destination, blue: Destination
    ) -> None:
        assert traffic.open_requests(blue.generation) == 0
        assert traffic.open_requests(red.generation) == 0
        traffic.close(blue.generation)
        assert traffic.current() == red

    def test_what_is_open_stays_until_it_is_closed(
        self, traffic: DrainsAndShifts, ask: Ask, hold: Hold, red: Destination, blue: Destination
    ) -> None:
        held = hold()
        eventually(lambda: traffic.open_requests(red.generation) == 1)
        traffic.route(blue)
        assert ask() == (200, blue.generation)
        assert held.is_open()
        assert traffic.open_requests(red.generation) == 1
        assert traffic.open_requests(blue.generation) == 0
        traffic.close(red.generation)
        eventually(lambda: not held.is_open())
        eventually(lambda: traffic.open_requests(red.generation) == 0)
        assert traffic.current() == blue
        assert ask() == (200, blue.generation)

    def test_what_ends_by_itself_is_gone(
        self, traffic: DrainsAndShifts, hold: Hold, red: Destination, blue: Destination
    ) -> None:
        held = hold()
        traffic.route(blue)
        eventually(lambda: traffic.open_requests(red.generation) == 1)
        held.leave()
        eventually(lambda: traffic.open_requests(red.generation) == 0)

    def test_a_cut_ends_what_is_open(
        self, traffic: DrainsAndShifts, ask: Ask, hold: Hold, red: Destination, blue: Destination
    ) -> None:
        held = hold()
        eventually(lambda: traffic.open_requests(red.generation) == 1)
        traffic.route(blue, Leave.CUT)
        eventually(lambda: not held.is_open())
        eventually(lambda: traffic.open_requests(red.generation) == 0)
        assert ask() == (200, blue.generation)

    def test_where_requests_go_is_never_closed(
        self, traffic: DrainsAndShifts, ask: Ask, hold: Hold, red: Destination
    ) -> None:
        held = hold()
        eventually(lambda: traffic.open_requests(red.generation) == 1)
        traffic.close(red.generation)
        assert held.is_open()
        assert traffic.current() == red
        assert ask() == (200, red.generation)

    def test_closing_is_safe_to_repeat_and_the_way_back_stays(
        self, traffic: DrainsAndShifts, build: Build, ask: Ask, red: Destination, blue: Destination
    ) -> None:
        traffic.route(blue)
        for _ in range(3):
            build().close(red.generation)
        traffic.route(red)
        assert traffic.current() == red
        assert ask() == (200, red.generation)


def eventually(condition: Callable[[], bool]) -> None:
    """A proxy may see the end of a request a little later than its customer."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not met in {PATIENCE:g} s"
        time.sleep(0.005)
