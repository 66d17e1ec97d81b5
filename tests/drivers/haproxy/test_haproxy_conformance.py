"""The driver on a real HAProxy keeps what is asked of every driver."""

from __future__ import annotations

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.testing.conformance_drains import DrainsConformance
from lastgood.testing.conformance_measures import MeasuresConformance, Subject
from lastgood.testing.conformance_shares import SharesConformance
from lastgood.testing.conformance_traffic import TrafficConformance


class Fixtures:
    @pytest.fixture
    def build(self, lab):
        return lab.build

    @pytest.fixture
    def ask(self, lab):
        return lab.ask

    @pytest.fixture
    def red(self, red):
        return red

    @pytest.fixture
    def blue(self, blue):
        return blue


class TestHaproxyTraffic(Fixtures, TrafficConformance):
    pass


class TestHaproxyShares(Fixtures, SharesConformance):
    pass


class TestHaproxyDrains(Fixtures, DrainsConformance):
    @pytest.fixture
    def hold(self, lab):
        return lambda: lab.open("/socket")


@pytest.mark.parametrize("generation", ["", "red"])
class TestHaproxyMeasures(MeasuresConformance):
    @pytest.fixture
    def subject(self, lab, red, generation):
        driver = lab.build()
        driver.install()
        driver.route(red)
        signal = Signal("answered", SignalKind.RATIO, "haproxy", {"generation": generation})
        return Subject(
            lab.build,
            signal,
            lambda: lab.ask("/?status=200"),
            lambda: lab.ask("/?status=500"),
            lab.server.kill,
            lab.server.start,
        )
