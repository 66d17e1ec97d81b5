"""Load from a process of its own, and what it saw of a flip."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from bench.support.runners import wait_for

T = TypeVar("T")
RATE = 500
CONNECTIONS = 20
REST = 1.0
"""Seconds of load after what is measured: what was held up has to be sent, too."""


@dataclass(frozen=True)
class Seen:
    """What the load generator saw: every request, oldest first, times in seconds since the epoch."""

    answers: list[dict[str, Any]]

    @property
    def total(self) -> int:
        return len(self.answers)

    @property
    def failed(self) -> int:
        return sum(bool(a["error"]) or a["status"] >= 500 for a in self.answers)

    @property
    def slowest(self) -> float:
        """Milliseconds from when it was due."""
        return max(float(a["latency"]) for a in self.answers) * 1000

    def all_on(self, word: str, since: float) -> float:
        """When the last response arrived that was no good one with ``word``, ``since`` included.

        Raises RuntimeError unless there were enough good ones after it.
        """
        bad = (a for a in self.answers if a["word"] != word or a["status"] != 200)
        last = max((float(a["received"]) for a in bad), default=0.0)
        after = sum(a["sent"] > last for a in self.answers)
        if last < since or after < RATE // 10:
            raise RuntimeError(f"the load did not see all go to {word}: {after} answers after")
        return last

    @property
    def errors(self) -> str:
        """How requests failed, with counts."""
        bad = (a for a in self.answers if a["error"] or a["status"] >= 500)
        kinds = Counter(a["error"] or str(a["status"]) for a in bad)
        return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))

    def last_of(self, word: str, begin: float, end: float) -> float:
        """When the last response with ``word`` arrived, of those sent between two moments.

        Raises RuntimeError unless it was answered both before and, by others, long enough after.
        """
        times = [a["received"] for a in self.answers if a["word"] == word and begin <= a["sent"] < end]
        last = max(times, default=0.0)
        after = sum(a["word"] not in ("", word) and last < a["sent"] < end for a in self.answers)
        if not times or after < RATE // 10:
            raise RuntimeError(f"the load did not see {word} go: {len(times)} answers, {after} after")
        return last


def under_load(
    url: str, seconds: float, directory: Path, act: Callable[[], T], *, early: bool = False
) -> tuple[Seen, T]:
    """Run ``act`` once all connections of the load are busy; what the whole load saw, and its result.

    The load lasts for ``seconds``; ``early``: at most, it ends soon after ``act``.
    """
    file = directory / "requests.jsonl"
    command = [sys.executable, "-m", "lastgood.testing.load", url, "--requests", str(file), "--json"]
    command += ["--rate", str(RATE), "--connections", str(CONNECTIONS), "--seconds", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        load = psutil.Process(process.pid)
        wait_for(lambda: len(load.net_connections("tcp")) >= CONNECTIONS)
        time.sleep(0.3)
        result = act()
        if early:
            time.sleep(REST)
            process.terminate()
        process.wait()
    answers = [json.loads(line) for line in file.read_text().splitlines()]
    lasted = answers[-1]["received"] - answers[0]["due"] if early else seconds
    if len(answers) < RATE * lasted * (0.9 if early else 0.99):
        raise RuntimeError(f"the load came to {len(answers)} requests only")
    return Seen(answers), result


@contextmanager
def few_customers(url: str) -> Iterator[None]:
    """Fifty requests a second as long as the block: criteria need something to judge."""
    command = [sys.executable, "-m", "lastgood.testing.load", url, "--rate", "50", "--connections", "3"]
    with subprocess.Popen([*command, "--seconds", "3600"], stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()
