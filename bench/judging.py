"""False alarms of healthy releases, and how soon a breach is found."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from math import sqrt
from time import perf_counter

from bench._streams import alarm, stream
from lastgood.judging.sequential import ALPHA, SequentialTest

HEALTHY_RUNS = 2000
BROKEN_RUNS = 200
SECONDS = 300
LATE = 203
WINDOW = 10.0
Z = 2.0537
"""One-sided critical value of the normal distribution for a single look at ALPHA = 0.02."""


def repeated_z_test(counts: Iterator[tuple[int, int]], *, limit: float, at_least: int = 30) -> int | None:
    """What is usually done: a z-test of the whole count at each look, from ``at_least`` events on."""
    good = total = 0
    for second, (more, bad) in enumerate(counts, start=1):
        good, total = good + more, total + more + bad
        if total >= at_least and good / total < limit - Z * sqrt(limit * (1 - limit) / total):
            return second
    return None


def _alarms(test: Callable[[Iterator[tuple[int, int]]], int | None], limit: float, rate: int) -> float:
    rng = random.Random(20240229)
    stopped = sum(
        test(stream(rng, rate=rate, looks=SECONDS, failing=1 - limit)) is not None
        for _ in range(HEALTHY_RUNS)
    )
    return stopped / HEALTHY_RUNS


def _delays(limit: float, rate: int, failing: float, begins: int) -> tuple[float, float, float]:
    """Median and 95th percentile in seconds of those found, and the share found in time."""
    rng = random.Random(20240229)
    found = []
    for _ in range(BROKEN_RUNS):
        counts = stream(rng, rate=rate, looks=SECONDS, failing=failing, begins=begins, before=(1 - limit) / 5)
        second = alarm(counts, limit=limit, window=WINDOW, duration=SECONDS)
        if second is not None and second > begins:
            found.append(second - begins)
    found.sort()
    if not found:
        return float("nan"), float("nan"), 0.0
    return found[len(found) // 2], found[int(len(found) * 0.95)], len(found) / BROKEN_RUNS


def _cost() -> float:
    """Microseconds of one look in a watch of four hours."""
    test = SequentialTest(0.97, window=WINDOW, duration=4 * 3600)
    began = perf_counter()
    for look in range(72000):
        test.look(look / 5, 2, 0)
    return (perf_counter() - began) / 72000 * 1e6


def run() -> bool:
    print(
        f"{HEALTHY_RUNS} healthy runs, share of good exactly at the limit, a look a second for {SECONDS} s;"
    )
    print(f"false alarms of the sequential test, and of a z-test repeated at each look (both at {ALPHA}):")
    print(f"{'limit':>7} {'events/s':>9} {'sequential':>11} {'repeated z':>11}")
    worst = 0.0
    for limit in (0.97, 0.995):
        for rate in (10, 50):
            ours = _alarms(partial(alarm, limit=limit, window=WINDOW, duration=SECONDS), limit, rate)
            theirs = _alarms(partial(repeated_z_test, limit=limit), limit, rate)
            worst = max(worst, ours)
            print(f"{limit:>7} {rate:>9} {ours:>11.2%} {theirs:>11.1%}")
    print(f"\n{BROKEN_RUNS} broken runs: seconds to the alarm, median / 95th percentile (found in time);")
    print(f"'late' begins after {LATE} healthy seconds, so that {SECONDS - LATE} s are left to find it:")
    print(f"{'limit':>7} {'events/s':>9} {'failing':>8} {'from the start':>22} {'late':>22}")
    for limit in (0.97, 0.995):
        for rate in (10, 50):
            for failing in (0.20, 0.10, 0.05):
                cells = [
                    f"{median:.0f} / {high:.0f} ({share:.1%})"
                    for median, high, share in (_delays(limit, rate, failing, b) for b in (0, LATE))
                ]
                print(f"{limit:>7} {rate:>9} {failing:>8.0%} {cells[0]:>22} {cells[1]:>22}")
    print(f"\none look in a watch of four hours: {_cost():.1f} µs")
    if worst <= ALPHA:
        print("judging: aim met")
        return True
    print(f"judging: aim missed: false alarms {worst:.2%} instead of at most {ALPHA:.0%}")
    return False
