"""Streams of good and bad events with fixed seeds, looked at again and again."""

from __future__ import annotations

import math
import random
from bisect import bisect
from collections.abc import Callable, Iterator
from itertools import accumulate

from lastgood.judging.sequential import SequentialTest


def binomial(rng: random.Random, n: int, p: float) -> Callable[[], int]:
    """Draws of how many of ``n`` happen when each does with probability ``p``."""
    table = list(accumulate(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)))
    return lambda: min(bisect(table, rng.random()), n)


def stream(
    rng: random.Random, *, rate: int, looks: int, failing: float, begins: int = 0, before: float = 0.0
) -> Iterator[tuple[int, int]]:
    """(good, bad) of each second: ``failing`` is the share of bad from second ``begins`` on."""
    healthy, broken = binomial(rng, rate, before), binomial(rng, rate, failing)
    for second in range(looks):
        bad = broken() if second >= begins else healthy()
        yield rate - bad, bad


def alarm(counts: Iterator[tuple[int, int]], *, limit: float, window: float, duration: float) -> int | None:
    """The second at which the test rejects, None when it never does."""
    test = SequentialTest(limit, window=window, duration=duration)
    for second, (good, bad) in enumerate(counts, start=1):
        test.look(second, good, bad)
        if test.rejects():
            return second
    return None
