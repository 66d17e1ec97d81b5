"""A copy that stands by: exactly the cut, nobody's to touch, taken by a restore or not used at all."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.domain.warm_copy import Asked, WarmCopy
from lastgood.drivers.postgresql import scratch, warm
from tests.drivers.postgresql.conftest import SERVERS, Lab
from tests.drivers.postgresql.day import RESTORE, Day
from tests.drivers.postgresql.dying import check, die
from tests.drivers.postgresql.waiting import until

ROWS = "SELECT (SELECT count(*) FROM orders), (SELECT sum(id) FROM orders), (SELECT max(id) FROM log)"


@pytest.fixture
def day(lab: Lab) -> Day:
    """A copy stands by, and the shop writes on both sides of a bad migration."""
    day = Day.begin(lab)
    lab.driver().warm_copy(day.taken)
    lab.ask("INSERT INTO orders (customer) VALUES ('before')")
    day.migrate("UPDATE products SET price = 0, stock = 0 WHERE id = 1;")
    for _ in range(3):
        lab.ask("INSERT INTO orders (customer) VALUES ('after')")
        lab.ask("UPDATE products SET stock = stock - 1 WHERE id > 1")
    return day


def standing(day: Day) -> WarmCopy:
    found = day.lab.driver().writes_since(day.taken, ()).warm
    assert found is not None
    return found


def beside(lab: Lab) -> list[str]:
    return [n for n in lab.databases() if n.startswith(lab.name) or n.startswith(scratch.PREFIX)]


@contextmanager
def opened(lab: Lab, name: str) -> Iterator[psycopg.Connection[object]]:
    """What somebody does who looks into it: opens it, and closes it behind him."""
    lab.ask(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', name="postgres")
    with lab.session(name=name) as connection:
        yield connection
    until(lambda: lab.ask(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'") == [(0,)])
    lab.ask(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', name="postgres")


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_it_holds_the_cut_while_the_shop_writes(lab: Lab) -> None:
    """What the file holds, row by row: both are loaded at the cut of the capture."""
    over = threading.Event()

    def shop() -> None:
        with lab.session() as connection:
            while not over.is_set():
                connection.execute("INSERT INTO orders (customer) VALUES ('one more')")

    lab.ask("CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text);"
            "CREATE TABLE log (id int)")  # fmt: skip
    writer = threading.Thread(target=shop)
    writer.start()
    try:
        until(lambda: lab.ask("SELECT count(*) > 20 FROM orders") == [(True,)])
        driver = lab.driver()
        taken = driver.capture("cut")
        copy = driver.warm_copy(taken)
    finally:
        over.set()
        writer.join()
    assert copy.usable
    assert copy.proven_at is not None
    with scratch.scratch(driver._server, driver._snapshots.dump_of(taken), driver._snapshots.tools()) as made:
        wanted = lab.ask("SELECT * FROM orders ORDER BY 1", name=made.database)
    assert 20 < len(wanted) < lab.ask("SELECT count(*) FROM orders")[0][0]
    with opened(lab, copy.name) as inside:
        assert inside.execute("SELECT * FROM orders ORDER BY 1").fetchall() == wanted


def test_what_was_written_during_the_load_is_put_aside_and_carried_over(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server need not keep, and nobody read, the log of the load, however long that was."""
    day, loaded = Day.begin(lab), warm.load

    def load(*given: Any) -> None:
        loaded(*given)
        for _ in range(3):
            lab.ask("CHECKPOINT")

    monkeypatch.setattr(warm, "load", load)
    lab.ask("INSERT INTO orders (customer) VALUES ('before')")
    lab.ask("INSERT INTO log (what) SELECT 'x' FROM generate_series(1, 30)")
    held = lab.driver().writes_since(day.taken, ()).held
    lab.driver().warm_copy(day.taken)
    early = lab.ask("SELECT count(*) FROM lastgood.early")[0][0]
    assert early > 32
    seen = lab.driver().writes_since(day.taken, ())
    assert {t.table: t.inserted for t in seen.tables} == {"log": 31, "orders": 1}
    assert seen.complete
    assert seen.held < held + (1 << 20), "not the size of the copy"
    assert lab.driver().capture("cut").cut == day.taken.cut, "it is open still"
    day.migrate("UPDATE products SET price = 0, stock = 0 WHERE id = 1;")
    swapped = day.go_back()
    assert swapped.salvage.carried == {"log": 31, "orders": 1}
    assert lab.ask("SELECT count(*) FROM log WHERE what = 'x'") == [(30,)]
    lab.driver().end_capture(day.taken)
    there = "SELECT to_regclass('lastgood.early')"
    assert lab.ask(there) == lab.ask(there, name=swapped.failed) == [(None,)]


def test_a_restore_takes_it_and_loads_nothing(day: Day) -> None:
    """Without the file: nothing of it is read."""
    copy = standing(day)
    day.lab.driver().warm_copy(day.taken)
    assert standing(day) == copy, "made once"
    path = day.lab.tools.directory / "snapshots" / f"{day.taken.id}.dump"
    path.write_bytes(b"broken")
    day.lab.ask("TRUNCATE items")
    counts = {t.table: t.deleted for t in day.lab.driver().writes_since(day.taken, ()).tables}
    assert counts["items"] == 20, "as many as there were at the cut"
    failed = day.go_back().failed
    check(day)
    assert day.lab.ask("SELECT count(*) FROM items") == [(0,)]
    gone = "SELECT (SELECT count(*) FROM pg_replication_slots), to_regclass('lastgood.early')"
    assert day.lab.ask(gone, name=failed) == [(0, None)], "the capture ended with the failed database"
    assert copy.name not in day.lab.databases()
    assert day.lab.ask("SHOW synchronous_commit") == [("on",)], "what was right for a copy"


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_nobody_gets_in(day: Day) -> None:
    name = standing(day).name
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        day.lab.session(name=name)
    day.lab.ask("VACUUM (FREEZE) pg_database", name="postgres")
    assert standing(day).usable, "the server's own housekeeping breaks no seal"


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_touched_it_is_left_alone_and_the_file_is_loaded(day: Day) -> None:
    copy = standing(day)
    with opened(day.lab, copy.name) as inside:
        inside.execute("UPDATE orders SET customer = 'not the shop'")
    seen = standing(day)
    assert (seen.usable, seen.name) == (False, copy.name)
    assert f"{copy.name} was opened or changed" in str(seen.trouble)
    day.go_back()
    check(day)
    day.lab.driver().end_capture(day.taken)
    assert copy.name not in day.lab.databases()


def test_touched_and_without_the_file_it_is_refused_with_both_reasons(day: Day) -> None:
    warm, before = standing(day), sorted(day.lab.databases())
    with opened(day.lab, warm.name):
        pass
    (day.lab.tools.directory / "snapshots" / f"{day.taken.id}.dump").unlink()
    with pytest.raises(Rejected, match=r"opened or changed by somebody.*missing or damaged"):
        day.lab.driver().refuse_restore(day.taken, ())
    assert sorted(day.lab.databases()) == before


def test_dropped_by_somebody_the_file_is_loaded(day: Day) -> None:
    day.lab.ask(f'DROP DATABASE "{standing(day).name}"', name="postgres")
    assert day.lab.driver().writes_since(day.taken, ()).warm is None
    day.go_back()
    check(day)


def test_the_copy_of_a_restore_dropped_by_somebody_is_made_anew_with_all_that_it_held(day: Day) -> None:
    driver = day.lab.driver()
    name = driver.prepare_copy(day.taken, RESTORE)
    driver.carry_over(day.taken, RESTORE, ())
    day.lab.ask(f'DROP DATABASE "{name}"', name="postgres")
    day.go_back_again()
    check(day)


def test_what_stood_by_for_a_capture_that_was_lost_is_not_that_of_the_next(lab: Lab) -> None:
    day, driver = Day.begin(lab), lab.driver()
    lab.ask("INSERT INTO orders (customer) VALUES ('during the load')")
    driver.warm_copy(day.taken)
    lab.ask("INSERT INTO orders (customer) VALUES ('then')")
    lab.ask("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    day.taken = driver.capture("cut")
    seen = driver.writes_since(day.taken, ())
    assert (seen.tables, seen.warm) == ((), None)
    driver.warm_copy(day.taken)
    day.go_back()
    assert lab.ask("SELECT customer FROM orders WHERE id > 20 ORDER BY id") == [
        ("during the load",),
        ("then",),
    ]


def test_given_up_it_is_gone_and_the_next_restore_loads_the_file(day: Day) -> None:
    """What was carried over is in it: it is not as it was at the cut any more."""
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, "first")
    driver.carry_over(day.taken, "first", ())
    assert not driver.abandon("first")
    assert beside(day.lab) == [day.lab.name]
    assert driver.writes_since(day.taken, ()).warm is None
    day.go_back()
    check(day)


@pytest.mark.parametrize(
    ("server", "point"),
    [
        ("debian", "<restore.Ledger.begin"),
        ("wheel", "<warm._comment"),
        ("debian", ">warm.Warmer.adopt"),
        ("debian", ">fence.end_sessions"),
    ],
    indirect=["server"],
)
def test_killed_while_it_goes_back_it_goes_on_without_the_file(day: Day, point: str) -> None:
    (day.lab.tools.directory / "snapshots" / f"{day.taken.id}.dump").write_bytes(b"broken")
    die(day, point)
    swapped = day.go_back_again()
    check(day)
    assert beside(day.lab) == sorted([day.lab.name, swapped.failed])
    assert (
        day.lab.ask("SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'") == []
    )


@pytest.mark.parametrize(
    "point", ["<warm.load", "<warm._comment", "<changes.advance", ">warm.early.put_aside"]
)
@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_killed_while_it_is_loaded(lab: Lab, point: str) -> None:
    """It stands by whole, or what is there is swept; the next call makes it. Nothing written is missed."""
    day = Day.begin(lab)
    lab.ask("INSERT INTO orders (customer) VALUES ('before')")
    before = lab.driver().writes_since(day.taken, ())
    die(day, point, lambda: lab.driver().warm_copy(day.taken))
    after = lab.driver().writes_since(day.taken, ())
    assert (after.complete, after.tables) == (True, before.tables)
    assert after.warm is None or after.warm.usable
    assert (after.warm is None) is (point in ("<warm.load", "<warm._comment"))
    assert lab.driver().warm_copy(day.taken).usable
    assert lab.driver().writes_since(day.taken, ()).tables == before.tables
    assert len(beside(lab)) == 2


@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_what_a_death_left_goes_with_the_capture(lab: Lab) -> None:
    day = Day.begin(lab)
    die(day, ">warm.load", lambda: lab.driver().warm_copy(day.taken))
    assert len(beside(lab)) == 2
    lab.driver().end_capture(day.taken)
    assert beside(lab) == [lab.name]


def test_the_server_killed_it_stands_by_still(day: Day) -> None:
    copy = standing(day)
    day.lab.server.kill()
    day.lab.server.start()
    assert (standing(day).name, standing(day).usable) == (copy.name, True)
    day.go_back()
    check(day)


def test_it_ends_with_its_capture_and_another_databases_stays(day: Day) -> None:
    lab = day.lab
    assert lab.driver().copy_room().asked is Asked.AUTO
    other = Lab(lab.server, lab.name + "_other", lab.tools)
    lab.ask(f"CREATE DATABASE {other.name}", name="postgres")
    theirs = other.driver(resource="other@prod/us")
    stays = theirs.warm_copy(theirs.capture("cut")).name
    older = standing(day).name
    newer = lab.driver().capture("newer")
    assert older not in lab.databases()
    name = lab.driver().warm_copy(newer).name
    for _ in range(2):
        lab.driver().end_capture(newer)
    assert name not in lab.databases()
    assert stays in lab.databases()
    with pytest.raises(Rejected, match="no capture is open"):
        lab.driver().warm_copy(newer)
    theirs.end_capture(theirs.capture("cut"))
    assert stays not in lab.databases()


def test_room_is_asked_for_first(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    day, before = Day.begin(lab), lab.databases()
    usage = shutil.disk_usage(lab.tools.directory)
    assert lab.driver().copy_room().free is not None
    assert lab.driver(copy_room=3).copy_room().free == 3 << 20
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: usage._replace(free=12 << 20))
        with pytest.raises(Rejected, match=r"needs about \d+ MiB, and 12 MiB are free"):
            lab.driver().warm_copy(day.taken)
    with pytest.raises(Rejected, match="and 3 MiB are free"):
        lab.driver(copy_room=3).warm_copy(day.taken)
    assert lab.databases() == before
    monkeypatch.setattr(scratch, "free_space", lambda *_: None)
    monkeypatch.setattr("lastgood.drivers.postgresql.warm.free_space", lambda *_: None)
    assert lab.driver().copy_room().free is None
    with pytest.raises(InvalidInput, match="the setting 'copy' of the postgresql driver is 'hot'"):
        lab.driver(copy="hot")


def test_a_missing_right_is_named(lab: Lab) -> None:
    lab.ask("DROP ROLE IF EXISTS weak; CREATE ROLE weak LOGIN")
    weak = lab.driver(url=lab.server.url(lab.name, "weak"))
    assert "'weak' lacks a right" in str(weak.copy_room().obstacle)
    assert "CREATEDB" in str(weak.copy_room().obstacle)
