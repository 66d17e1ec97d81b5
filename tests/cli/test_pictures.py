"""Numbers as blocks, times as words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.cli.blocks import BLOCKS, Point, bounds, chart, points
from lastgood.cli.helping import cells, wrap
from lastgood.cli.words import percent, seconds
from lastgood.domain.criterion import Sample

START = datetime(2026, 1, 2, tzinfo=UTC)


def looks(*counts: tuple[int, int]) -> list[Sample]:
    """Samples as the gate keeps them: counted since the watch began."""
    return [Sample("orders", START + timedelta(seconds=n), START, g, t) for n, (g, t) in enumerate(counts)]


def test_a_point_is_what_came_between_two_looks() -> None:
    found = points(looks((0, 0), (10, 10), (10, 10), (15, 20)), 60)
    assert found == [Point(None), Point(1.0, 10), Point(None), Point(0.5, 10)]


def test_a_new_watch_counts_from_its_own_beginning() -> None:
    again = [Sample("orders", s.at, s.at, s.good, s.total) for s in looks((4, 4), (3, 4))]
    assert [p.value for p in points(again, 60)] == [1.0, 0.75]


def test_a_gauge_is_drawn_by_its_readings() -> None:
    samples = [
        Sample("lag", START + timedelta(seconds=n), START, value=v) for n, v in enumerate((1.0, None, 4.0))
    ]
    assert [p.value for p in points(samples, 60)] == [1.0, None, 4.0]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=200),
    st.integers(1, 80),
    st.integers(1, 6),
)
def test_a_picture_keeps_its_frame(steps: list[tuple[int, int]], width: int, height: int) -> None:
    good = total = 0
    counts = []
    for ok, bad in steps:
        good, total = good + ok, total + ok + bad
        counts.append((good, total))
    found = points(looks(*counts), width)
    assert len(found) <= width
    assert sum(p.events for p in found) == total
    low, high = bounds(found, 0.95, ratio=True)
    assert 0.0 <= low < high == 1.0
    rows = chart(found, low, high, height)
    assert [len(row) for row in rows] == [len(found)] * height
    assert {cell for row in rows for cell in row} <= {*BLOCKS, "·"}


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, "100 %"),
        (0.999999, "99.99 %"),
        (0.996, "99.6 %"),
        (0.8, "80 %"),
        (0.0, "0 %"),
        (0.99949, "99.95 %"),
    ],
)
def test_a_share_is_never_rounded_up_to_all(share: float, said: str) -> None:
    assert percent(share) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "< 0.01 s"), (0.04, "0.04 s"), (0.0949, "0.09 s"), (2.34, "2.3 s"), (9.96, "10 s"),
        (59.6, "1 min"), (125, "2 min 05 s"), (3600, "1 h 00 min"), (3725, "1 h 02 min"),
    ],
)  # fmt: skip
def test_a_time_is_short(value: float, said: str) -> None:
    assert seconds(value) == said


@given(st.text(alphabet="ab 数据库，。", max_size=120), st.integers(8, 40))
def test_wrapping_loses_nothing_and_fits(text: str, width: int) -> None:
    lines = list(wrap(text, width))
    assert "".join("".join(lines).split()) == "".join(text.split())
    longest = max((cells(word) for word in text.split(" ")), default=0)
    assert all(cells(line) <= max(width + 4, longest) for line in lines)
