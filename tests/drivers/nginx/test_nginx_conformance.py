"""The driver on a real nginx keeps what every driver of its abilities promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.ports.traffic import Destination
from lastgood.testing.conformance_drains import DrainsConformance, Hold
from lastgood.testing.conformance_measures import MeasuresConformance, Subject
from lastgood.testing.conformance_shares import SharesConformance
from lastgood.testing.conformance_traffic import Ask, TrafficConformance

RATIO = Signal("answered", SignalKind.RATIO, "nginx")


class Fixtures:
    @pytest.fixture
    def build(self, lab):
        return lab.build

    @pytest.fixture
    def ask(self, lab) -> Ask:
        return lab.ask

    @pytest.fixture
    def hold(self, lab) -> Hold:
        return lab.hold

    @pytest.fixture
    def red(self, red: Destination) -> Destination:
        return red

    @pytest.fixture
    def blue(self, blue: Destination) -> Destination:
        return blue


class TestNginxTraffic(Fixtures, TrafficConformance):
    """Where requests go."""


class TestNginxShares(Fixtures, SharesConformance):
    """Each request throws dice: one run in 25,000 sees no request at all at a share of 5 %."""

    spread = 16.0


class TestNginxDrains(Fixtures, DrainsConformance):
    """What stays open."""


class TestNginxMeasures(MeasuresConformance):
    @pytest.fixture
    def subject(self, lab, red, eventually) -> Subject:
        driver = lab.build()
        driver.install()
        driver.route(red)
        log = lab.server.log(lab.site)
        away = log.with_name("away")

        def event(status: int) -> Callable[[], None]:
            def happen() -> None:
                size = log.stat().st_size
                assert lab.ask(f"/?status={status}")[0] == status
                # nginx writes its line after the response has left.
                eventually(lambda: log.stat().st_size > size)

            return happen

        return Subject(
            lab.build, RATIO, event(200), event(500), lambda: log.rename(away), lambda: away.rename(log)
        )
