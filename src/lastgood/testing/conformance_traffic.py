"""What every traffic driver must keep; subclass it and give the fixtures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.ports.traffic import Destination, ShiftsTraffic

Ask = Callable[[], tuple[int, str]]
"""Sends one request to the unit as a customer; returns status and generation that answered."""


class TrafficConformance:
    """The subclass gives ``build`` (a new driver of the same unit each time), ``ask``, and ``red`` and
    ``blue``: two destinations behind which a generation answers. Before each test nothing is installed.
    """

    @pytest.fixture
    def build(self) -> Callable[[], ShiftsTraffic]:
        raise NotImplementedError

    @pytest.fixture
    def ask(self) -> Ask:
        raise NotImplementedError

    @pytest.fixture
    def red(self) -> Destination:
        raise NotImplementedError

    @pytest.fixture
    def blue(self) -> Destination:
        raise NotImplementedError

    @pytest.fixture
    def traffic(self, build: Callable[[], ShiftsTraffic]) -> ShiftsTraffic:
        driver = build()
        driver.install()
        return driver

    def test_it_says_that_it_shifts_traffic(self, build: Callable[[], ShiftsTraffic]) -> None:
        assert isinstance(build(), ShiftsTraffic)

    def test_without_a_route_requests_go_nowhere(self, build: Callable[[], ShiftsTraffic]) -> None:
        assert build().current() == Destination()

    def test_without_a_route_nothing_can_be_sent(
        self, build: Callable[[], ShiftsTraffic], red: Destination
    ) -> None:
        with pytest.raises(Rejected):
            build().route(red)

    def test_a_new_route_points_nowhere(self, traffic: ShiftsTraffic, ask: Ask) -> None:
        assert traffic.current() == Destination()
        assert ask()[0] == 503

    def test_requests_go_where_they_were_sent(
        self, traffic: ShiftsTraffic, ask: Ask, red: Destination
    ) -> None:
        traffic.route(red)
        assert traffic.current() == red
        assert ask() == (200, red.generation)

    def test_it_flips_there_and_back(
        self, traffic: ShiftsTraffic, ask: Ask, red: Destination, blue: Destination
    ) -> None:
        for destination in (red, blue, red, blue, red):
            traffic.route(destination)
            assert traffic.current() == destination
            assert ask() == (200, destination.generation)

    def test_repeating_changes_nothing(self, traffic: ShiftsTraffic, ask: Ask, red: Destination) -> None:
        for _ in range(3):
            traffic.install()
            traffic.route(red)
        assert traffic.current() == red
        assert ask() == (200, red.generation)

    def test_installing_again_keeps_the_destination(
        self, traffic: ShiftsTraffic, build: Callable[[], ShiftsTraffic], ask: Ask, blue: Destination
    ) -> None:
        traffic.route(blue)
        build().install()
        assert traffic.current() == blue
        assert ask() == (200, blue.generation)

    def test_another_process_sees_the_same(
        self, traffic: ShiftsTraffic, build: Callable[[], ShiftsTraffic], red: Destination
    ) -> None:
        traffic.route(red)
        assert build().current() == red

    def test_traffic_can_be_sent_nowhere(self, traffic: ShiftsTraffic, ask: Ask, red: Destination) -> None:
        traffic.route(red)
        traffic.route(Destination())
        assert traffic.current() == Destination()
        assert ask()[0] == 503

    def test_an_upstream_without_a_generation_is_a_destination(
        self, traffic: ShiftsTraffic, ask: Ask, red: Destination
    ) -> None:
        baseline = Destination("", red.addresses)
        traffic.route(baseline)
        assert traffic.current() == baseline
        assert ask()[0] == 200

    def test_a_generation_without_address_is_refused(self, traffic: ShiftsTraffic, red: Destination) -> None:
        traffic.route(red)
        with pytest.raises(InvalidInput):
            traffic.route(Destination("lost"))
        assert traffic.current() == red

    def test_its_address_is_host_and_port(self, traffic: ShiftsTraffic) -> None:
        host, _, port = traffic.address().rpartition(":")
        assert host
        assert port.isdigit()
