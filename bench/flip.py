"""The way back under load: from the command to the last response of the failed generation.

The load is a process of its own with 500 requests a second on 20 kept-alive connections; it runs from
before the command until well after, and its own record of each request is what is judged.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.support.breakdown import Breakdown
from bench.support.reload import Plain, switches
from bench.support.runners import kill_runner, lasting_runner
from bench.support.tables import HEAD, line, verdict
from bench.support.traffic import Seen, under_load
from bench.support.world import APP, UNIT, World, world

LASTGOOD = Path(sys.executable).parent / "lastgood"
FLIPS = 10
COLD_FLIPS = 6
RELOADS = 20
LEAST = 10_000


@dataclass
class Way:
    """One way back, again and again: milliseconds of each, requests and failed requests of all."""

    name: str
    took: list[float] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    errors: str = ""

    def add(self, seen: Seen, took: float) -> None:
        self.took.append(took)
        self.requests += seen.total
        self.failed += seen.failed
        self.errors = seen.errors or self.errors

    def show(self) -> None:
        print(f"{line(self.name, self.took)}  {self.failed:>4}/{self.requests}", flush=True)
        if self.errors:
            print(f"  failed: {self.errors}")


def _by_call(made: World) -> str:
    return made.service.rollback(UNIT, reason="bench")


def _by_command(made: World) -> str:
    command = [str(LASTGOOD), "rollback", str(UNIT), "--yes", "--json", "--detach"]
    done = subprocess.run(
        command, cwd=made.places.estate, env=made.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr[-500:]}")
    return made.service.history(UNIT, 1)[0][0].id


def _back(made: World, way: Way, command: Callable[[World], str], seconds: float) -> tuple[float, str]:
    """One way back under load: when it was asked for, and the rollout to follow."""
    failed = made.word

    def act() -> tuple[float, str]:
        return time.time(), command(made)

    seen, (asked, rollout) = under_load(made.url, seconds, made.root, act)
    way.add(seen, (seen.last_of(failed, asked - 60, asked + 60) - asked) * 1000)
    return asked, rollout


def _warm(made: World, way: Way, command: Callable[[World], str], parts: Breakdown, seconds: float) -> None:
    for _ in range(FLIPS):
        rollout = made.deploy("60s")
        made.until_guarding(rollout)
        asked, _ = _back(made, way, command, seconds)
        parts.add(made, made.end(rollout.id), asked)
    way.show()


def _cold(
    made: World, way: Way, command: Callable[[World], str], seconds: float, *, runner: bool = True
) -> None:
    """The guard window is over and the old generation stopped: it is started from its restore point."""
    for _ in range(COLD_FLIPS):
        made.end(made.deploy("0.3s").id)
        if not runner:
            kill_runner(made.places)
        made.end(_back(made, way, command, seconds)[1])
    way.show()


def _reloads(root: Path) -> list[Way]:
    found = []
    ways: tuple[tuple[str, Callable[[Plain, int], None]], ...] = (
        ("plain Caddy: new configuration by POST /load", Plain.by_admin),
        ("plain Caddy: new configuration by `caddy reload`", Plain.by_command),
    )
    for number, (name, switch) in enumerate(ways):
        way = Way(name)
        way.took, seen = switches(root / f"plain{number}", APP, switch, RELOADS, 1.0)
        way.requests, way.failed, way.errors = seen.total, seen.failed, seen.errors
        way.show()
        found.append(way)
    return found


def run() -> bool:
    """Print the table; True when no request failed on any way back, warm ones counted in ten thousands."""
    names = ("warm, call", "warm, `lastgood rollback`", "cold, call", "cold, `lastgood rollback`")
    warm_call, warm_command, cold_call, cold_command = (Way(f"{name}, runner up") for name in names)
    alone = Way("cold, call, no runner")
    parts = Breakdown()
    print(f"{HEAD}  {'failed':>6}")
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as root, world(Path(root)) as made:
        with lasting_runner(made.places):
            made.end(made.deploy("0.3s").id)
            _warm(made, warm_call, _by_call, parts, 3.5)
            _warm(made, warm_command, _by_command, Breakdown(), 8.0)
            _cold(made, cold_call, _by_call, 6.0)
            _cold(made, cold_command, _by_command, 9.0)
        _cold(made, alone, _by_call, 9.0, runner=False)
        _, starts = under_load(made.url, 8.0, made.root, lambda: made.start_times(FLIPS))
        print(line("for comparison: the process's own start, same load", starts))
        _reloads(Path(root))
        print("\nwhere the time of the warm call goes:")
        parts.show()
    missed = [f"{w.name}: {w.failed} of {w.requests} requests failed"
              for w in (warm_call, warm_command, cold_call, cold_command, alone) if w.failed]  # fmt: skip
    if warm_call.requests < LEAST:
        missed.append(f"only {warm_call.requests} requests, {LEAST} are the least")
    return verdict("flip", missed)
