"""One way back, again and again, and what the load saw of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.support.tables import WIDTH, line
from bench.support.traffic import Seen

SLOW = 500.0
"""Milliseconds from when a request was due, above which the slowest answer is told, too."""


@dataclass
class Way:
    """Milliseconds of each time, requests and failed requests of all."""

    name: str
    width: int = WIDTH
    took: list[float] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    slowest: float = 0.0
    errors: str = ""

    def add(self, seen: Seen, took: float) -> None:
        self.took.append(took)
        self.requests += seen.total
        self.failed += seen.failed
        self.slowest = max(self.slowest, seen.slowest)
        self.errors = seen.errors or self.errors

    def show(self) -> None:
        print(f"{line(self.name, self.took, self.width)}  {self.failed:>4}/{self.requests}", flush=True)
        if self.errors:
            print(f"  failed: {self.errors}")
        if self.slowest > SLOW:
            print(f"  slowest answer: {self.slowest:.0f} ms")
