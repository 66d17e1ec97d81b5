"""Figures as text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

HEAD = f"{'':<50} {'n':>4} {'median':>9} {'worst':>9}"


def line(what: str, values: Sequence[float], unit: str = "ms") -> str:
    """One line of a table: how many, the median and the worst; ``values`` are in ``unit``."""
    digits = 0 if unit == "ms" and min(values) >= 100 else 2 if unit == "s" else 1
    middle, worst = statistics.median(values), max(values)
    return f"{what:<50} {len(values):>4} {middle:>6.{digits}f} {unit:<2} {worst:>6.{digits}f} {unit:<2}"


def verdict(name: str, missed: Sequence[str]) -> bool:
    """Print the last line of a bench; whether every aim was met."""
    print(f"{name}: aim missed: {'; '.join(missed)}" if missed else f"{name}: aim met")
    return not missed
