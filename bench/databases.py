"""Back to before a migration that spoiled data, under load: ours, and what else people do.

Eight writers in a process of their own take orders the whole time; their own record of what was acknowledged
is what is judged. ``closed``: the longest time in which nobody's order was taken. ``wrong``: rows still
as the bad migration left them. ``lost``: acknowledged orders that are not there afterwards.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bench.support.database_ways import BackRest, Dumped, Sqitch
from bench.support.database_world import SPOIL, DatabaseWorld, database_world
from bench.support.shop_load import customers, orders_of
from bench.support.tables import verdict
from lastgood.domain.salvage import Swapped

SIZES = {100: 5, 1024: 3, 4096: 1}
"""Size in MiB, and how often the restore is measured."""
WARM = {100: 3, 1024: 2}
"""The same with a copy that stood by, and how often."""
CALM = 5.0
"""Seconds of orders before the copy is loaded, to compare those during its load with."""
SIDE_BY_SIDE = 1024
REST = 1.0
SWAP_AIM = 150.0
COST_AIM = 0.05
ROUNDS, SECONDS = 4, 12
WIDTH = 42
MARK = f"{'':<{WIDTH}} {'whole':>9} {'closed':>9} {'wrong':>7} {'lost':>6}"


class OtherWay(Protocol):
    title: str

    def before(self) -> None: ...

    def change(self) -> None: ...

    def back(self) -> None: ...


@dataclass
class Back:
    """One restore of ours: seconds each."""

    capture: float
    copy: float
    whole: float
    closed: float
    swapped: Swapped
    wrong: tuple[int, int]
    load: float = 0.0
    calm: float = 0.0
    loading: float = 0.0
    pause: float = 0.0
    """Of a copy that stood by: its load, orders a second before and during it, the longest pause in it."""


def _ours(world: DatabaseWorld, mib: int, *, warm: bool = False) -> Back:
    name = world.database(mib)
    driver = world.driver(name)
    try:
        with customers(world.server.url(name), world.root) as file:
            first = time.time()
            time.sleep(CALM if warm else 0)
            begun = time.time()
            taken = driver.capture("change")
            cut = time.time()
            if warm:
                assert driver.warm_copy(taken).usable
            loaded = time.time()
            driver.deploy(SPOIL, "change")
            time.sleep(REST)
            asked = time.time()
            driver.refuse_restore(taken, ())
            driver.prepare_copy(taken, "back")
            copied = time.time()
            driver.carry_over(taken, "back", ())
            swapped = driver.swap(taken, "back", ())
            end = time.time()
            time.sleep(REST)
        seen = orders_of(file)
        closed = seen.longest_gap(copied, end + REST)
        wrong = world.wrong(name, seen.since(0))
        assert len(seen.since(cut)) > 0, "nobody wrote"
        found = Back(cut - begun, copied - asked, end - asked, closed, swapped, wrong)
        if not warm:
            return found
        return replace(
            found, load=loaded - cut, calm=seen.rate(first, begun), loading=seen.rate(cut, loaded),
            pause=seen.longest_gap(cut, loaded),
        )  # fmt: skip
    finally:
        driver.close()
        world.drop(name)


def _restores(world: DatabaseWorld) -> tuple[list[Back], dict[int, list[Back]]]:
    print("\nours, by size: the copy is loaded beside the live database, which stays open for that long")
    print(f"{'':<{WIDTH}} {'capture':>8} {'copy':>8} {'fence':>8} {'swap':>8} {'closed':>8}")
    found: dict[int, list[Back]] = {}
    for mib, times in SIZES.items():
        backs = found.setdefault(mib, [])
        for number in range(times):
            back = _ours(world, mib)
            backs.append(back)
            carried = sum(back.swapped.salvage.carried.values())
            fence, swap = back.swapped.fence_seconds * 1000, back.swapped.swap_seconds * 1000
            what = f"{mib} MiB, run {number + 1}; {carried:,} writes carried"
            print(f"{what:<{WIDTH}} {back.capture:>6.1f} s "
                  f"{back.copy:>6.1f} s {fence:>5.0f} ms {swap:>5.1f} ms {back.closed * 1000:>5.0f} ms",
                  flush=True)  # fmt: skip
    return [back for backs in found.values() for back in backs], found


def _warm(world: DatabaseWorld, by_size: dict[int, list[Back]]) -> list[Back]:
    print(
        "\nours, with a copy that stood by: loaded with the snapshot, before the change moves data; orders\n"
        "a second before and during that load, and the longest time in it in which nobody's was taken"
    )
    print(f"{'':<{WIDTH}} {'load':>8} {'before':>7} {'during':>7} {'pause':>8} {'copy':>8} {'whole':>8} "
          f"{'closed':>8}")  # fmt: skip
    found = []
    for mib, times in WARM.items():
        for file in by_size.get(mib, [])[-1:]:
            print(f"{f'{mib} MiB, from the file':<{WIDTH}} {'':>34} {file.copy:>6.1f} s {file.whole:>6.1f} s "
                  f"{file.closed * 1000:>5.0f} ms")  # fmt: skip
        for number in range(times):
            back = _ours(world, mib, warm=True)
            found.append(back)
            print(f"{f'{mib} MiB, it stood by, run {number + 1}':<{WIDTH}} {back.load:>6.1f} s "
                  f"{back.calm:>7.0f} {back.loading:>7.0f} {back.pause * 1000:>5.0f} ms {back.copy:>6.2f} s "
                  f"{back.whole:>6.1f} s {back.closed * 1000:>5.0f} ms", flush=True)  # fmt: skip
    return found


def _other(world: DatabaseWorld, make: Callable[[DatabaseWorld, str], OtherWay]) -> None:
    name = world.database(SIDE_BY_SIDE)
    way = make(world, name)
    try:
        way.before()
        with customers(world.server.url(name), world.root) as file:
            way.change()
            time.sleep(REST)
            asked = time.time()
            way.back()
            end = time.time()
            time.sleep(REST)
        seen = orders_of(file)
        wrong, lost = world.wrong(name, seen.since(0))
        print(_line(way.title, end - asked, seen.longest_gap(asked, end + REST), wrong, lost), flush=True)
    finally:
        if isinstance(way, BackRest):
            way.end()
        world.drop(name)


def _line(what: str, whole: float, closed: float, wrong: int, lost: int) -> str:
    return f"{what:<{WIDTH}} {whole:>7.1f} s {closed:>7.2f} s {wrong:>7,} {lost:>6,}"


def _side_by_side(world: DatabaseWorld, ours: Back) -> None:
    print(f"\n{SIDE_BY_SIDE} MiB, side by side\n{MARK}")
    print(_line("lastgood restore", ours.whole, ours.closed, *ours.wrong), flush=True)
    ways: list[tuple[str, Callable[[DatabaseWorld, str], OtherWay]]] = [
        ("", Dumped), ("sqitch", Sqitch), ("pgbackrest", BackRest)]  # fmt: skip
    for program, make in ways:
        if program and shutil.which(program) is None:
            print(f"  {program} is not installed: apt-get install {program}")
        else:
            _other(world, make)


def _cost(world: DatabaseWorld) -> float:
    """The part of a pgbench load's throughput that an open capture takes: medians of runs in turn."""
    name = world.database(150)
    driver = world.driver(name)
    rates: dict[bool, list[float]] = {False: [], True: []}
    try:
        for number in range(ROUNDS * 2):
            captured = number % 2 == 1
            taken = driver.capture(f"cost {number}") if captured else None
            said = world.tool("pgbench", "-c", "8", "-j", "2", "-T", str(SECONDS), "-n", name)
            rates[captured].append(float(said.split("tps = ")[1].split()[0]))
            if taken is not None:
                driver.end_capture(taken)
    finally:
        driver.close()
        world.drop(name)
    without, with_one = (statistics.median(rates[key]) for key in (False, True))
    cost = 1 - with_one / without
    print(f"\npgbench, 8 clients: {without:,.0f} a second without a capture, {with_one:,.0f} with one open: "
          f"{cost:+.1%} (runs {', '.join(f'{r:,.0f}' for r in rates[False])} and "
          f"{', '.join(f'{r:,.0f}' for r in rates[True])})", flush=True)  # fmt: skip
    return cost


def run() -> bool:
    """Print the tables; True when the swap is short and flat, a capture cheap, and nothing lost."""
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as root:
        Path(root).chmod(0o755)
        with database_world(Path(root)) as world:
            cost = _cost(world)
            backs, by_size = _restores(world)
            backs += _warm(world, by_size)
            _side_by_side(world, by_size[SIDE_BY_SIDE][-1])
    missed = []
    longest = max(back.swapped.swap_seconds * 1000 for back in backs)
    if longest > SWAP_AIM:
        missed.append(f"the longest swap took {longest:.0f} ms of {SWAP_AIM:.0f}")
    if cost > COST_AIM:
        missed.append(f"a capture costs {cost:.1%} of {COST_AIM:.0%}")
    if any(back.wrong != (0, 0) for back in backs):
        missed.append("something was lost")
    return verdict("databases", missed)
