"""Back to the image before, under load: ours, and what else people do with the same images.

Each way runs two containers behind one HAProxy, which asks each for /healthz ten times a second. The load is
a process of its own with 500 requests a second on 20 kept-alive connections; its own record of each request
is what is judged. Time runs from the call (the command, the first bad response) to the last response that was
not a good one of the old image.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.support.breakdown import Breakdown
from bench.support.image_world import LATE, NEW, OLD, SLOW, ImageWorld, image_world
from bench.support.other_ways import ByHand, Compose, OtherWay, Swarm, compose_command, swarm
from bench.support.own_start import own_starts
from bench.support.runners import lasting_runner
from bench.support.tables import head, line, verdict
from bench.support.traffic import Seen, few_customers, under_load
from bench.support.ways import Way

WARM, COMMANDS, COLD, OTHERS = 10, 3, 6, 3
WARM_AIM, COLD_AIM = 100.0, 1.2
"""Milliseconds; times the container's own start."""
WIDTH = 44
Command = Callable[[ImageWorld], str]
Aim = tuple[bool, str, str]
"""Whether it is met, its name, and what was measured."""


def _back(made: ImageWorld, way: Way, command: Command, word: str = OLD) -> tuple[float, str]:
    """One way back to ``word`` under load: when it was asked for, and the id of the rollout that was told."""

    def act() -> tuple[float, str]:
        asked = time.time()
        rollout = command(made)
        made.end(rollout)
        return asked, rollout

    seen, (asked, rollout) = under_load(made.url, 60, made.root, act, early=True)
    way.add(seen, (seen.all_on(word, asked) - asked) * 1000)
    return asked, rollout


def _warm(made: ImageWorld, name: str, command: Command, times: int, parts: Breakdown) -> Way:
    way = Way(name, WIDTH)
    for _ in range(times):
        rollout = made.deploy(NEW, "60s")
        made.until_guarding(rollout)
        asked, told = _back(made, way, command)
        parts.add(made, made.end(told), asked)
    way.show()
    return way


def _cold(made: ImageWorld, name: str, command: Command, times: int, word: str = OLD) -> Way:
    """The guard window is over, the old containers are stopped."""
    way = Way(name, WIDTH)
    for _ in range(times):
        made.end(made.deploy(NEW, "500ms").id)
        _back(made, way, command, word)
    way.show()
    return way


def _other(made: ImageWorld, name: str, other: OtherWay) -> Way:
    way = Way(name, WIDTH)
    with _begun(made, other):
        for _ in range(OTHERS):
            other.go(NEW)
            other.settle()
            made.until_others_serve(NEW)

            def act() -> float:
                asked = time.time()
                other.go(OLD)
                made.until_others_serve(OLD)
                return asked

            seen, asked = under_load(made.other_url, 60, made.root, act, early=True)
            way.add(seen, (seen.all_on(OLD, asked) - asked) * 1000)
            other.settle()
    way.show()
    return way


@contextmanager
def _begun(made: ImageWorld, other: OtherWay) -> Iterator[None]:
    other.begin()
    try:
        made.until_others_serve(OLD)
        yield
    finally:
        other.end()


def _by_itself(made: ImageWorld, name: str, canary: int) -> Way:
    """The new image answers 500 from its hundredth request on, and nobody says anything."""
    way = Way(name, WIDTH)
    for _ in range(OTHERS):

        def act() -> str:
            failed = made.deploy(LATE, "60s", watch="5s", canary=canary).id
            made.end(failed)
            return failed

        seen, failed = under_load(made.url, 60, made.root, act, early=True)
        way.add(seen, _since_first_bad(seen))
        made.forgive(failed)
    way.show()
    return way


def _by_itself_in_a_swarm(made: ImageWorld) -> Way:
    way = Way("swarm, its health check asks the page", WIDTH)
    other = Swarm(made, watch="5s", health="/page")
    with _begun(made, other):
        for _ in range(OTHERS):

            def act() -> None:
                other.go(LATE)
                other.settle()

            seen, _ = under_load(made.other_url, 60, made.root, act, early=True)
            way.add(seen, _since_first_bad(seen))
            if other.state() != "rollback_completed":
                raise RuntimeError(f"the swarm did not go back: {other.state()}")
    way.show()
    return way


def _since_first_bad(seen: Seen) -> float:
    """Milliseconds until all responses are good ones of the old image."""
    first: float = min(a["received"] for a in seen.answers if a["status"] == 500)
    return (seen.all_on(OLD, first) - first) * 1000


def _ours(made: ImageWorld, parts: Breakdown) -> list[Aim]:
    made.end(made.deploy(OLD, "500ms").id)
    warm = _warm(made, "ours, warm, call", ImageWorld.by_call, WARM, parts)
    command = _warm(made, "ours, warm, `lastgood rollback`", ImageWorld.by_command, COMMANDS, Breakdown())
    cold = _cold(made, "ours, cold, call", ImageWorld.by_call, COLD)
    cold_command = _cold(made, "ours, cold, `lastgood rollback`", ImageWorld.by_command, OTHERS)
    start = _own_start(made, OLD)
    made.end(made.deploy(SLOW, "500ms").id)
    slow = _cold(made, "ours, cold, call, listens after 1 s", ImageWorld.by_call, OTHERS, SLOW)
    slow_start = _own_start(made, SLOW)
    made.end(made.deploy(OLD, "500ms").id)
    failed = sum(way.failed for way in (warm, command, cold, cold_command, slow))
    took = statistics.median(warm.took)
    return [
        (took <= WARM_AIM, warm.name, f"{took:.0f} ms (median), aim {WARM_AIM:.0f} ms"),
        _times_own_start(cold, start),
        _times_own_start(slow, slow_start),
        (not failed, "ours", f"{failed} requests failed, aim 0"),
    ]


def _own_start(made: ImageWorld, word: str) -> float:
    """Its median."""
    act = partial(own_starts, made, word, COLD)
    _, starts = under_load(made.url, 60, made.root, act, early=True)
    print(line("  these containers' own start, same load", starts, WIDTH), flush=True)
    return statistics.median(starts)


def _times_own_start(way: Way, start: float) -> Aim:
    times = statistics.median(way.took) / start
    return times <= COLD_AIM, way.name, f"{times:.2f} x the containers' own start, aim {COLD_AIM}"


def _others(made: ImageWorld) -> None:
    for rolling, how in ((False, "all at once"), (True, "one by one")):
        _other(made, f"stop, rm and run by hand, {how}", ByHand(made, rolling=rolling))
    compose = compose_command(made)
    if compose:
        version = subprocess.run([*compose, "version", "--short"], capture_output=True, text=True).stdout
        for rolling, how in ((False, "all at once"), (True, "one by one")):
            _other(made, f"compose {version.strip()} up -d, {how}", Compose(made, compose, rolling=rolling))
    else:
        print("compose: not installed and left out (Debian: apt-get install docker-compose)")


def run() -> bool:
    """Print the tables; whether the aims are met."""
    parts = Breakdown()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as root, image_world(Path(root)) as made:
        print(f"{head(WIDTH)}  {'failed':>6}")
        with lasting_runner(made.places), few_customers(made.url):
            aims = _ours(made, parts)
        _others(made)
        with swarm(made):
            _other(made, "docker service update --rollback", Swarm(made))
            print("\nby itself, since the first bad response:")
            _by_itself_in_a_swarm(made)
        with lasting_runner(made.places), few_customers(made.url):
            _by_itself(made, "ours, all traffic at once", 0)
            _by_itself(made, "ours, a quarter of the traffic first", 25)
        print("\nwhere the time of the warm call goes:")
        parts.show()
    print()
    for met, name, measured in aims:
        print(f"{'met' if met else 'missed':<7}{name}: {measured}")
    return verdict("images", [name for met, name, _ in aims if not met])
