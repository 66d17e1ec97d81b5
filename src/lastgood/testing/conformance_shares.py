"""What every driver that splits traffic must keep; subclass it and give the fixtures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.ports.traffic import Destination, Leave, Share, ShiftsTraffic, SplitsTraffic
from lastgood.testing.conformance_traffic import Ask

REQUESTS = 200
NEAR = 1.0
"""Percentage points by which an observed share may miss the wanted one: weights are whole numbers."""


class SplitsAndShifts(ShiftsTraffic, SplitsTraffic):
    """A driver that does both."""


Build = Callable[[], SplitsAndShifts]


class SharesConformance:
    """Fixtures as for ``TrafficConformance``; a driver that can split can also route.

    ``spread`` is by how many percentage points 200 requests may miss their share: about 1 where a proxy deals
    them out in turn, more where it throws dice.
    """

    spread = 1.0

    @pytest.fixture
    def build(self) -> Build:
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
    def traffic(self, build: Build, red: Destination) -> SplitsAndShifts:
        """All requests go to ``red``."""
        driver = build()
        driver.install()
        driver.route(red)
        return driver

    def test_it_says_that_it_splits_traffic(self, build: Build) -> None:
        assert isinstance(build(), SplitsTraffic)

    def test_without_a_route_there_are_no_shares(
        self, build: Build, red: Destination, blue: Destination
    ) -> None:
        assert build().shares() == ()
        with pytest.raises(Rejected):
            build().split([Share(red, 95.0), Share(blue, 5.0)])
        build().install()
        assert build().shares() == ()

    def test_a_route_is_one_share(self, traffic: SplitsAndShifts, red: Destination) -> None:
        assert traffic.shares() == (Share(red, 100.0),)

    @pytest.mark.parametrize("percent", [5.0, 25.0, 50.0, 90.0])
    def test_requests_are_dealt_out_as_wanted(
        self, traffic: SplitsAndShifts, ask: Ask, red: Destination, blue: Destination, percent: float
    ) -> None:
        traffic.split([Share(red, 100.0 - percent), Share(blue, percent)])
        assert_shares(traffic.shares(), [Share(red, 100.0 - percent), Share(blue, percent)])
        assert traffic.current() in ((blue,) if percent > 50 else (red,) if percent < 50 else (red, blue))
        answers = Counter(ask() for _ in range(REQUESTS))
        assert set(answers) == {(200, red.generation), (200, blue.generation)}
        seen = answers[200, blue.generation] * 100.0 / REQUESTS
        assert abs(seen - percent) <= self.spread + NEAR

    def test_it_goes_on_in_steps_and_a_route_ends_it(
        self, traffic: SplitsAndShifts, ask: Ask, red: Destination, blue: Destination
    ) -> None:
        for percent in (5.0, 25.0, 25.0, 60.0):
            traffic.split([Share(red, 100.0 - percent), Share(blue, percent)])
            assert_shares(traffic.shares(), [Share(red, 100.0 - percent), Share(blue, percent)])
        traffic.route(blue)
        assert traffic.shares() == (Share(blue, 100.0),)
        assert {ask() for _ in range(20)} == {(200, blue.generation)}

    @pytest.mark.parametrize("leave", Leave)
    def test_it_can_be_taken_back(
        self, traffic: SplitsAndShifts, ask: Ask, red: Destination, blue: Destination, leave: Leave
    ) -> None:
        traffic.split([Share(red, 95.0), Share(blue, 5.0)])
        traffic.route(red, leave)
        assert traffic.current() == red
        assert traffic.shares() == (Share(red, 100.0),)
        assert {ask() for _ in range(40)} == {(200, red.generation)}

    def test_all_of_it_is_a_route(
        self, traffic: SplitsAndShifts, ask: Ask, red: Destination, blue: Destination
    ) -> None:
        traffic.split([Share(red, 0.0), Share(blue, 100.0)])
        assert traffic.current() == blue
        assert traffic.shares() == (Share(blue, 100.0),)
        assert {ask() for _ in range(20)} == {(200, blue.generation)}

    def test_another_process_sees_the_same(
        self, traffic: SplitsAndShifts, build: Build, red: Destination, blue: Destination
    ) -> None:
        traffic.split([Share(red, 75.0), Share(blue, 25.0)])
        build().install()
        assert_shares(build().shares(), [Share(red, 75.0), Share(blue, 25.0)])

    @pytest.mark.parametrize("percents", [(95.0, 6.0), (110.0, -10.0), (50.0, 20.0), ()])
    def test_shares_that_are_none_are_refused(
        self, traffic: SplitsAndShifts, red: Destination, blue: Destination, percents: Sequence[float]
    ) -> None:
        wanted = [Share(d, p) for d, p in zip((red, blue), percents, strict=False)]
        with pytest.raises(InvalidInput):
            traffic.split(wanted)
        assert traffic.shares() == (Share(red, 100.0),)

    def test_a_share_for_nobody_is_refused(self, traffic: SplitsAndShifts, red: Destination) -> None:
        with pytest.raises(InvalidInput):
            traffic.split([Share(red, 95.0), Share(Destination("lost"), 5.0)])
        with pytest.raises(InvalidInput):
            traffic.split([Share(red, 50.0), Share(red, 50.0)])
        assert traffic.shares() == (Share(red, 100.0),)


def assert_shares(seen: Sequence[Share], wanted: Sequence[Share]) -> None:
    """The largest first, and near what was wanted."""
    percents = [share.percent for share in seen]
    assert percents == sorted(percents, reverse=True)
    assert sum(percents) == pytest.approx(100.0)
    found = {share.destination: share.percent for share in seen}
    assert set(found) == {share.destination for share in wanted}
    for share in wanted:
        assert found[share.destination] == pytest.approx(share.percent, abs=NEAR)
