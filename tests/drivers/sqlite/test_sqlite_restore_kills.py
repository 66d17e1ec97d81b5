"""A restore killed at any point goes on, or is given up, and the database is the old one or the new one."""

from __future__ import annotations

import functools
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastgood.drivers.sqlite import swap
from lastgood.drivers.sqlite.connection import Store
from tests.drivers.dying import arm
from tests.drivers.postgresql.waiting import until
from tests.drivers.sqlite.conftest import Lab
from tests.drivers.sqlite.day import RESTORE, Day

BULK = """
CREATE TABLE bulk (id integer PRIMARY KEY, filling text);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
INSERT INTO bulk SELECT i, hex(zeroblob(500)) FROM n;
"""


@pytest.fixture
def day(lab: Lab) -> Day:
    """With writes on both sides of a bad migration, in a file of 1 MB."""
    day = Day.begin(lab, BULK)
    lab.ask("INSERT INTO orders (customer) VALUES ('before')")
    day.migrate("UPDATE items SET price = 0, stock = 0 WHERE id = 1; UPDATE bulk SET filling = id;")
    for n in range(3):
        lab.ask(f"INSERT INTO orders (customer) VALUES ('after {n}')")
        lab.ask("UPDATE items SET stock = stock - 1 WHERE id > 1")
    return day


def in_child(act: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(1)
    return child


def die(day: Day, point: str) -> None:
    """A restore in a process of its own that kills itself at ``point``: ``module.function`` of the driver,
    with ``<`` in front for before and ``>`` for after it ran, and perhaps ``#2`` for the second time.
    """

    def act() -> None:
        cramp()
        arm("sqlite", point)
        day.go_back_again()

    _, status = os.waitpid(in_child(act), 0)
    assert os.WIFSIGNALED(status), f"it did not come to {point}"


def cramp() -> None:
    """Many small steps and no room to keep them in memory: between the first and the last the file is neither
    the old one nor the new one, but for its journal.
    """
    swap.PAGES = 32  # type: ignore[misc]
    connect = Store.connect

    def cramped(store: Store, **settings: Any) -> sqlite3.Connection:
        connection = connect(store, **settings)
        connection.execute("PRAGMA cache_size = 16")
        return connection

    Store.connect = cramped  # type: ignore[method-assign]


def is_old(day: Day) -> bool:
    """Whole, and one of the two."""
    assert day.lab.ask("PRAGMA integrity_check") == [("ok",)]
    old = day.lab.ask("SELECT price FROM items WHERE id = 1") == [(0,)]
    filled = day.lab.ask("SELECT count(*) FROM bulk WHERE length(filling) > 900")
    assert filled == [(0 if old else 1000,)]
    return old


def check(day: Day) -> None:
    """Everything is there once."""
    ask = day.lab.ask
    assert [r[0] for r in ask("SELECT customer FROM orders WHERE id > 3 ORDER BY id")] == [
        "before", "after 0", "after 1", "after 2",
    ]  # fmt: skip
    assert ask("SELECT id, price, stock FROM items WHERE id < 3 ORDER BY 1") == [(1, 10, 98), (2, 20, 95)]
    assert not is_old(day)


@pytest.mark.parametrize(
    ("mode", "point", "old"),
    [
        ("wal", "<copying.whole", True), ("delete", ">restore.Restorer._load", True),
        ("wal", "<carrying.Carrier.carry", True), ("delete", ">restore.Restorer._carry#2", True),
        ("wal", ">restore.Restorer._carry#2", True), ("delete", ">swap.unless_locked#3", True),
        ("wal", ">swap.unless_locked#3", True), ("delete", ">swap.unless_locked#7", True),
        ("wal", ">swap.unless_locked#7", True), ("delete", ">restore.replace_content", False),
        ("wal", "<restore.Restorer._settle", False),
    ],
)  # fmt: skip
def test_killed_it_goes_on(day: Day, point: str, old: bool) -> None:
    die(day, point)
    assert is_old(day) is old
    day.lab.ask("UPDATE visits SET page = '/again' WHERE page = '/cart'")
    swapped = day.go_back_again()
    check(day)
    assert swapped.salvage.conflicts == {}
    assert day.lab.databases() == sorted([str(day.lab.path), swapped.failed])
    assert day.lab.ask("SELECT count(*) FROM visits WHERE page = '/again'") == [(1,)]


@pytest.mark.parametrize(
    ("mode", "point"), [("delete", ">restore.Restorer._carry#2"), ("wal", ">swap.unless_locked#3")]
)
def test_killed_it_can_be_given_up(day: Day, point: str) -> None:
    die(day, point)
    for _ in range(2):
        assert not day.lab.driver().abandon(RESTORE)
    assert day.lab.databases() == [str(day.lab.path)]
    assert is_old(day)
    day.go_back()
    check(day)


def test_killed_at_any_moment_it_is_the_old_one_or_the_new(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "PAGES", 8)
    pauses = random.Random(7)
    for _ in range(4):
        child = in_child(day.go_back_again)
        try:
            # Not before it writes into the live file, or is about to.
            until(functools.partial(_at_it_or_over, day, child))
            select.select([], [], [], pauses.random() / 20)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        is_old(day)
    day.go_back_again()
    check(day)


def _at_it_or_over(day: Day, child: int) -> bool:
    return any("failed" in name for name in day.lab.databases()) or os.waitpid(child, os.WNOHANG)[0] != 0


def test_customers_lose_nothing(day: Day) -> None:
    """Programs of their own, with the file open the whole time."""
    with day.customers(2) as running:
        first = [int(program.stdout.readline()) for program in running if program.stdout]
        day.migrate("UPDATE items SET price = 0;", "0002_bad")
        before = time.monotonic()
        swapped = day.go_back_again()
        assert swapped.fence_seconds < time.monotonic() - before
        # They go on in what they have open.
        highest = [day.lab.ask("SELECT max(id) FROM orders")[0][0]]
        until(lambda: day.lab.ask("SELECT max(id) FROM orders")[0][0] != highest[0])
    there = [row[0] for row in day.lab.ask("SELECT id FROM orders WHERE id >= 1000000 ORDER BY id")]
    told = sorted({*first, *day.acknowledged})
    # One more each may be there that nobody was told of: it was killed in between.
    assert set(told) <= set(there)
    assert len(there) - len(told) <= len(running)
    assert len(told) > 10
    sold = day.lab.ask("SELECT 95 - stock FROM items WHERE id = 2")
    assert sold == [(len(there),)]
    assert day.lab.ask("SELECT price FROM items ORDER BY id") == [(10,), (20,), (30,)]
    assert swapped.salvage.conflicts == {}


def test_a_writer_that_dies_in_the_middle_is_nobody(day: Day) -> None:
    """A transaction that was never committed is not carried over, and holds nobody up."""
    program = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(day.lab.path)], stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "held\n"
    program.kill()
    program.communicate()
    day.go_back()
    check(day)


_HOLDS = """
import signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO orders (customer) VALUES ('never')")
print("held", flush=True)
signal.pause()
"""


def test_the_file_stays_the_one_that_others_have_open(day: Day) -> None:
    seen = Path(day.lab.path).stat()
    connection = day.lab.session()
    assert connection.execute("SELECT price FROM items WHERE id = 1").fetchall() == [(0,)]
    day.go_back()
    after = Path(day.lab.path).stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (seen.st_ino, seen.st_mode, seen.st_uid)
    assert connection.execute("SELECT price FROM items WHERE id = 1").fetchall() == [(10,)]
    connection.execute("INSERT INTO orders (customer) VALUES ('later')")
    connection.close()
    assert day.lab.ask("SELECT count(*) FROM orders WHERE customer = 'later'") == [(1,)]
