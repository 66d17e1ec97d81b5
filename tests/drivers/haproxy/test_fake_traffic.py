"""The fake keeps the promises of the real ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lastgood.domain.unit import UnitId
from lastgood.ports.traffic import Destination
from lastgood.testing.conformance_drains import DrainsConformance, Held
from lastgood.testing.conformance_shares import SharesConformance
from lastgood.testing.conformance_traffic import TrafficConformance
from lastgood.testing.fake_traffic import FakeTraffic


class Fixtures:
    @pytest.fixture
    def build(self, tmp_path: Path):
        return lambda: FakeTraffic(UnitId("shop", "prod", "us"), tmp_path / "traffic.json")

    @pytest.fixture
    def ask(self, build):
        return lambda: build().ask()

    @pytest.fixture
    def hold(self, build):
        @dataclass
        class Open:
            generation: str

            def is_open(self) -> bool:
                return build().open_requests(self.generation) > 0

            def leave(self) -> None:
                build()._open(self.generation, 0)

        def hold() -> Held:
            return Open(build().hold())

        return hold

    @pytest.fixture
    def red(self) -> Destination:
        return Destination("red", ("127.0.0.1:1001", "127.0.0.1:1002"))

    @pytest.fixture
    def blue(self) -> Destination:
        return Destination("blue", ("127.0.0.1:1003",))


class TestFakeTraffic(Fixtures, TrafficConformance):
    pass


class TestFakeShares(Fixtures, SharesConformance):
    pass


class TestFakeDrains(Fixtures, DrainsConformance):
    pass
