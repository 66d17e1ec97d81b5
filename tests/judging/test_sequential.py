"""The e-process: what it promises, on streams with fixed seeds."""

from __future__ import annotations

import random
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench._streams import alarm, stream
from lastgood.judging.sequential import ALPHA, SequentialTest

COUNTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=60)


def peak_after(counts: list[tuple[int, int]], limit: float = 0.97) -> float:
    test = SequentialTest(limit, window=10, duration=60)
    for second, (good, bad) in enumerate(counts, start=1):
        test.look(second, good, bad)
    return test.log_peak


@pytest.mark.parametrize("rate", [5, 20])
@pytest.mark.parametrize("limit", [0.97, 0.995])
def test_healthy_releases_are_stopped_no_more_often_than_promised(limit: float, rate: int) -> None:
    runs, rng = 2000, random.Random(7)
    stopped = sum(
        alarm(stream(rng, rate=rate, looks=300, failing=1 - limit), limit=limit, window=10.0, duration=300.0)
        is not None
        for _ in range(runs)
    )
    assert stopped / runs <= ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / runs)


@given(limit=st.floats(0.5, 0.9999), odds=st.floats(0.0, 1.0), sample=st.integers(1, 6))
def test_the_expected_evidence_of_any_healthy_service_is_at_most_one(
    limit: float, odds: float, sample: int
) -> None:
    """Exactly, over all outcomes of a few events: E[e] ≤ 1 for every p between the limit and 1."""
    p = limit + (1 - limit) * odds
    expected = 0.0
    for outcome in range(2**sample):
        test = SequentialTest(limit, window=4.0, duration=20.0)
        chance = 1.0
        for event in range(sample):
            bad = outcome >> event & 1
            chance *= 1 - p if bad else p
            test.look(float(event + 1), 1 - bad, bad)
        expected += chance * test.e
    assert expected <= 1 + 1e-9


@pytest.mark.parametrize(("failing", "within"), [(0.20, 15), (0.10, 60)])
def test_a_breach_from_the_start_is_found(failing: float, within: int) -> None:
    rng = random.Random(11)
    found = [
        alarm(stream(rng, rate=10, looks=300, failing=failing), limit=0.97, window=10.0, duration=300.0)
        for _ in range(100)
    ]
    assert all(second is not None and second <= within for second in found)


def test_a_breach_after_a_long_healthy_time_is_found_as_surely() -> None:
    rng = random.Random(13)
    for _ in range(100):
        counts = stream(rng, rate=10, looks=300, failing=0.2, begins=200, before=0.005)
        second = alarm(counts, limit=0.97, window=10.0, duration=300.0)
        assert second is not None
        assert 200 < second <= 225


@given(counts=COUNTS, at=st.integers(0, 59))
def test_one_more_failure_never_lowers_the_evidence(counts: list[tuple[int, int]], at: int) -> None:
    worse = [(g, b + (i == at)) for i, (g, b) in enumerate(counts)]
    assert peak_after(worse) >= peak_after(counts) - 1e-9


@given(counts=COUNTS, at=st.integers(0, 59))
def test_one_failure_turned_good_never_raises_the_evidence(counts: list[tuple[int, int]], at: int) -> None:
    better = [(g + 1, b - 1) if i == at and b else (g, b) for i, (g, b) in enumerate(counts)]
    assert peak_after(better) <= peak_after(counts) + 1e-9


@pytest.mark.parametrize("limit", [0.5, 0.9, 0.97, 0.995, 0.9999, 1.0])
def test_a_single_failure_of_a_single_event_is_not_enough(limit: float) -> None:
    test = SequentialTest(limit, window=10.0, duration=600.0)
    test.look(1.0, 0, 1)
    assert not test.rejects()


def test_a_limit_of_one_is_broken_by_the_second_early_failure() -> None:
    test = SequentialTest(1.0, window=10.0, duration=600.0)
    test.look(1.0, 8, 2)
    assert test.rejects()


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_no_failure_breaks_a_limit_of_zero(limit: float) -> None:
    test = SequentialTest(limit, window=10.0, duration=600.0)
    test.look(1.0, 0, 10**6)
    assert test.e == 1.0


@pytest.mark.parametrize(("window", "duration"), [(0.0, 60.0), (10.0, 0.0), (600.0, 10.0), (0.001, 86400.0)])
def test_odd_windows_still_find_a_dead_service(window: float, duration: float) -> None:
    test = SequentialTest(0.97, window=window, duration=duration)
    test.look(1.0, 0, 50)
    assert test.rejects()


def test_it_stays_finite_after_a_billion_events() -> None:
    test = SequentialTest(0.97, window=10.0, duration=60.0)
    test.look(1.0, 0, 10**9)
    test.look(100.0, 10**9, 0)
    assert test.rejects()
    assert 0.0 <= test.e < float("inf")
    assert test.peak < float("inf")
