"""The way back under load: from the command to the last response of the failed generation.

The load is a process of its own with 500 requests a second on 20 kept-alive connections; it runs from
before the command until well after, and its own record of each request is what is judged.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.support.breakdown import Breakdown
from bench.support.reload import Plain, switches
from bench.support.runners import kill_runner, lasting_runner
from bench.support.tables import HEAD, line, verdict
from bench.support.traffic import under_load
from bench.support.ways import Way
from bench.support.world import APP, World, world

FLIPS = 10
COLD_FLIPS = 6
RELOADS = 20
LEAST = 10_000


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
            _warm(made, warm_call, World.by_call, parts, 3.5)
            _warm(made, warm_command, World.by_command, Breakdown(), 8.0)
            _cold(made, cold_call, World.by_call, 6.0)
            _cold(made, cold_command, World.by_command, 9.0)
        _cold(made, alone, World.by_call, 9.0, runner=False)
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
