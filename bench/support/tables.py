"""Figures as text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

HEAD = f"{'':<50} {'n':>4} {'median':>9} {'worst':>9}"


def line(what: str, values: Sequence[float]) -> str:
    """One line of a table: how many, the median and the worst of ``values`` (milliseconds)."""
    middle, worst = statistics.median(values), max(values)
    digits = 0 if middle >= 100 else 1
    return f"{what:<50} {len(values):>4} {middle:>6.{digits}f} ms {worst:>6.{digits}f} ms"


def verdict(name: str, missed: Sequence[str]) -> bool:
    """Print the last line of a bench; whether every aim was met."""
    print(f"{name}: aim missed: {'; '.join(missed)}" if missed else f"{name}: aim met")
    return not missed
