"""Pictures of numbers out of block characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lastgood.domain.criterion import Sample

BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Point:
    """One column: a share of good (ratio) or a reading (gauge); None where nothing was measured."""

    value: float | None
    events: int = 0


def is_ratio(samples: Sequence[Sample]) -> bool:
    return all(s.value is None for s in samples) and any(s.total for s in samples)


def points(samples: Sequence[Sample], width: int) -> list[Point]:
    """At most ``width`` columns of equal time; a ratio's are what came between two looks."""
    if not samples:
        return []
    start, end = samples[0].since, samples[-1].at
    start = min(start, samples[0].at)
    span = max((end - start).total_seconds(), 1e-6)
    width = max(1, min(width, len(samples)))
    good, total, value = [0] * width, [0] * width, [None] * width  # type: list[int], list[int], list[float | None]
    seen_good, seen_total, since = 0, 0, None
    for number, sample in enumerate(samples):
        if sample.since != since:
            seen_good, seen_total, since = 0, 0, sample.since
        passed = (sample.at - start).total_seconds() / span
        # Few looks are drawn one by one: spread over time, their jitter would look like missing data.
        column = number if len(samples) <= width else min(width - 1, int(passed * width))
        if sample.value is not None:
            value[column] = sample.value
        if sample.total > seen_total:
            good[column] += sample.good - seen_good
            total[column] += sample.total - seen_total
            seen_good, seen_total = sample.good, sample.total
    if is_ratio(samples):
        return [Point(g / n if n else None, n) for g, n in zip(good, total, strict=True)]
    return [Point(v, 1 if v is not None else 0) for v in value]


def bounds(found: Sequence[Point], limit: float | None, *, ratio: bool) -> tuple[float, float]:
    """The lowest and highest value to draw, so that the limit and every point are in the picture."""
    values = [p.value for p in found if p.value is not None]
    if ratio:
        floor = min([*values, limit if limit is not None else 1.0])
        room = 1.0 - floor
        return max(0.0, floor - max(room * 0.5, 0.02)), 1.0
    top = max([*values, limit or 0.0, 1e-9])
    return 0.0, top * 1.1


def column(value: float, low: float, high: float, height: int) -> list[str]:
    """One bar, its top cell first; a bar is never empty."""
    eighths = max(1, round((value - low) / max(high - low, 1e-9) * 8 * height))
    cells = []
    for row in range(height):
        left = eighths - 8 * row
        cells.append(BLOCKS[8] if left >= 8 else BLOCKS[max(0, left)])
    return cells[::-1]


def chart(found: Sequence[Point], low: float, high: float, height: int) -> list[list[str]]:
    """``height`` rows of cells; a column without data is a dot on the ground."""
    empty = [" "] * (height - 1) + ["·"]
    columns = [empty if p.value is None else column(p.value, low, high, height) for p in found]
    return [[c[row] for c in columns] for row in range(height)]
