"""The driver on a real Caddy, and the fakes, keep the same promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.unit import UnitId
from lastgood.drivers.caddy.admin import Admin
from lastgood.drivers.caddy.metrics import count
from lastgood.ports.traffic import Destination, ShiftsTraffic
from lastgood.testing.conformance_measures import MeasuresConformance, Subject
from lastgood.testing.conformance_traffic import Ask, TrafficConformance
from lastgood.testing.fake_signal import FakeSignal
from lastgood.testing.fake_traffic import FakeTraffic

RATIO = Signal("answered", SignalKind.RATIO, "caddy")


class TestCaddyTraffic(TrafficConformance):
    @pytest.fixture
    def build(self, lab) -> Callable[[], ShiftsTraffic]:
        return lab.build

    @pytest.fixture
    def ask(self, lab) -> Ask:
        return lab.ask

    @pytest.fixture
    def red(self, red: Destination) -> Destination:
        return red

    @pytest.fixture
    def blue(self, blue: Destination) -> Destination:
        return blue


class TestFakeTraffic(TrafficConformance):
    @pytest.fixture
    def build(self, tmp_path: Path) -> Callable[[], ShiftsTraffic]:
        return lambda: FakeTraffic(UnitId("shop", "prod", "us"), tmp_path / "traffic.json")

    @pytest.fixture
    def ask(self, build: Callable[[], ShiftsTraffic]) -> Ask:
        def one() -> tuple[int, str]:
            there = build().current()
            return (200 if there.addresses else 503), there.generation

        return one

    @pytest.fixture
    def red(self) -> Destination:
        return Destination("red", ("127.0.0.1:1001",))

    @pytest.fixture
    def blue(self) -> Destination:
        return Destination("blue", ("127.0.0.1:1002",))


class TestCaddyMeasures(MeasuresConformance):
    @pytest.fixture
    def subject(self, lab, red, eventually) -> Subject:
        driver = lab.build()
        driver.install()
        driver.route(red)

        def counted() -> int:
            return sum(count(Admin(lab.server.admin).metrics(), "lastgood-storefront.prod.us").codes.values())

        def event(status: int) -> Callable[[], None]:
            def happen() -> None:
                before = counted()
                assert lab.ask(f"/?status={status}")[0] == status
                # Caddy counts a request after its response has left.
                eventually(lambda: counted() > before)

            return happen

        return Subject(
            lab.build, RATIO, event(200), event(500), lab.server.kill, lambda: lab.server.start(resume=True)
        )


class TestFakeMeasures(MeasuresConformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        path = tmp_path / "signal.json"
        return Subject(
            lambda: FakeSignal(path),
            RATIO,
            lambda: FakeSignal(path).happen(good=1),
            lambda: FakeSignal(path).happen(bad=1),
            lambda: FakeSignal(path).set_down("gone"),
            lambda: FakeSignal(path).set_down(""),
        )
