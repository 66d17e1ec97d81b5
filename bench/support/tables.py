"""Figures as text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

WIDTH = 50


def head(width: int = WIDTH) -> str:
    """Above lines of that width."""
    return f"{'':<{width}} {'n':>4} {'median':>9} {'worst':>9}"


HEAD = head()


def line(what: str, values: Sequence[float], width: int = WIDTH) -> str:
    """One line of a table: how many, the median and the worst of ``values`` (milliseconds)."""
    middle, worst = statistics.median(values), max(values)
    digits = 0 if middle >= 100 else 1
    return f"{what:<{width}} {len(values):>4} {middle:>6.{digits}f} ms {worst:>6.{digits}f} ms"


def verdict(name: str, missed: Sequence[str]) -> bool:
    """Print the last line of a bench; whether every aim was met."""
    print(f"{name}: aim missed: {'; '.join(missed)}" if missed else f"{name}: aim met")
    return not missed
