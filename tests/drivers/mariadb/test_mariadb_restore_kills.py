"""A restore killed at any point goes on, or is given up, and the database is the old one or the new one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import Any

import pymysql
import pytest

from lastgood.domain.errors import OutcomeUnknown, Rejected, Unreachable
from lastgood.drivers.mariadb import fence, numbers
from lastgood.drivers.mariadb.connection import run
from tests.drivers.dying import arm
from tests.drivers.mariadb.conftest import Lab
from tests.drivers.mariadb.day import RESTORE, Day
from tests.drivers.postgresql.waiting import until


@pytest.fixture
def day(lab: Lab) -> Day:
    """With writes on both sides of a bad migration."""
    day = Day.begin(lab)
    lab.ask("INSERT INTO orders (customer) VALUES ('before')")
    day.migrate("UPDATE products SET price = 0, stock = 0 WHERE id = 1;")
    for n in range(3):
        lab.ask(f"INSERT INTO orders (customer) VALUES ('after {n}')")
        lab.ask("UPDATE products SET stock = stock - 1 WHERE id > 1")
    return day


def die(day: Day, point: str) -> None:
    """A restore in a process of its own that kills itself at ``point``: ``module.function`` of the driver,
    with ``<`` in front for before and ``>`` for after it ran, and perhaps ``#2`` for the second time.
    """
    child = os.fork()
    if child == 0:
        try:
            arm("mariadb", point)
            day.go_back_again()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"it did not come to {point}"


def check(day: Day) -> None:
    """Everything is there once."""
    ask = day.lab.ask
    assert [r[0] for r in ask("SELECT customer FROM orders WHERE id > 20 ORDER BY id")] == [
        "before", "after 0", "after 1", "after 2",
    ]  # fmt: skip
    assert ask("SELECT id, price, stock FROM products WHERE id < 3 ORDER BY 1") == [(1, 10, 100), (2, 20, 97)]
    assert day.lab.driver().fingerprint() == day.taken.fingerprint
    assert ask("SHOW TABLES LIKE 'lastgood_gate'") == []


@pytest.mark.parametrize(
    "point",
    [
        ">restore.make_like", "<restore.Ledger.begin", ">restore.Ledger.begin", "<ledger.Ledger.write#2",
        ">salvage.Salvager._commit", ">restore.Ledger.fence", ">fence.Fence._prepare", ">fence.Fence._closed",
        "<numbers.surpass", "<fence.Fence._judge", ">restore.Ledger.swapped",
    ],
)  # fmt: skip
def test_killed_it_goes_on(day: Day, point: str) -> None:
    die(day, point)
    day.lab.ask("SELECT COUNT(*) FROM orders")
    swapped = day.go_back_again()
    check(day)
    assert swapped.salvage.conflicts == {}
    names = [name for name in day.lab.databases() if name.startswith(day.lab.name)]
    assert names == sorted([day.lab.name, swapped.failed])


@pytest.mark.parametrize("point", [">restore.make_like", ">restore.Ledger.fence"])
def test_killed_it_can_be_given_up(day: Day, point: str) -> None:
    die(day, point)
    for _ in range(2):
        assert not day.lab.driver().abandon(RESTORE)
    assert [n for n in day.lab.databases() if n.startswith(day.lab.name)] == [day.lab.name]
    assert day.lab.ask("SELECT price FROM products WHERE id = 1") == [(0,)]
    day.go_back()
    check(day)


def test_killed_in_the_fence_the_shop_goes_on_at_once(day: Day) -> None:
    """The old database, and nobody has to come to open it."""
    die(day, ">fence.Fence._closed")
    begun = time.monotonic()
    day.lab.ask("UPDATE orders SET paid = true WHERE id = 1")
    assert time.monotonic() - begun < 5
    assert day.lab.ask("SELECT price FROM products WHERE id = 1") == [(0,)]


@pytest.mark.parametrize(
    "moment", ["while it is prepared", "while it is carried", "in the fence", "as it swaps"]
)
def test_the_server_killed(day: Day, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old or new on restart, and the next call goes on."""
    kill = day.lab.server.kill
    act: Any
    if moment == "while it is prepared":
        where, act = "lastgood.drivers.mariadb.restore.Ledger.begin", None
    elif moment == "while it is carried":
        where, act = "lastgood.drivers.mariadb.carrying.Carrier.flush", None
    elif moment == "in the fence":
        where, act = "lastgood.drivers.mariadb.numbers.surpass", None
    else:
        where, act = "lastgood.drivers.mariadb.fence.run", run

    def killing(*arguments: Any) -> Any:
        if act is None:
            kill()
            raise pymysql.OperationalError(2013, "gone")
        result = act(*arguments)
        if arguments[1] == "UNLOCK TABLES":
            kill()
        return result

    monkeypatch.setattr(where, killing)
    with pytest.raises((Unreachable, OutcomeUnknown)):
        day.go_back_again()
    monkeypatch.undo()
    day.lab.server.start()
    there = day.lab.ask("SELECT price FROM products WHERE id < 3 ORDER BY id")
    assert there in ([(0,), (20,)], [(10,), (20,)])
    assert day.lab.ask("SELECT COUNT(*) FROM items JOIN orders ON orders.id = order_id") == [(20,)]
    day.go_back_again()
    check(day)


def test_what_fails_in_the_fence_opens_it(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)

    def refuse(*_: object) -> None:
        raise Rejected("no")

    monkeypatch.setattr("lastgood.drivers.mariadb.numbers.surpass", refuse)
    with pytest.raises(Rejected, match="no"):
        driver.swap(day.taken, RESTORE, ())
    day.lab.ask("INSERT INTO orders (id, customer) VALUES (99, 'gone')")
    day.lab.ask("DELETE FROM orders WHERE id = 99")
    monkeypatch.undo()
    driver.swap(day.taken, RESTORE, ())
    check(day)


def test_whoever_comes_next_waits_for_a_rename_that_is_past_ending(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends a session when it comes to it, and by then the tables may have moved."""
    driver, closed, goes_on = day.lab.driver(), threading.Event(), threading.Event()
    driver.prepare_copy(day.taken, RESTORE)
    surpass = numbers.surpass

    def wait(*arguments: Any) -> None:
        closed.set()
        assert goes_on.wait(20)
        surpass(*arguments)

    monkeypatch.setattr(numbers, "surpass", wait)
    monkeypatch.setattr(fence, "kill", lambda *_, **__: goes_on.set())
    swapping = threading.Thread(target=driver.swap, args=(day.taken, RESTORE, ()))
    swapping.start()
    assert closed.wait(20)
    server = driver._server
    with server.at("").patient_session() as admin:
        fence.open_again(admin, server)
    swapping.join()
    assert day.lab.ask("SELECT price FROM products WHERE id = 1") == [(10,)]
    (failed,) = [name for name in day.lab.databases() if "_failed_" in name]
    assert day.lab.ask("SELECT price FROM products WHERE id = 1", failed) == [(0,)]


def test_a_database_of_somebody_else_is_not_taken_for_a_failed_one(day: Day) -> None:
    theirs = f"{day.lab.name}_failed_payments"
    day.lab.ask(f"CREATE DATABASE {theirs}", "")
    day.lab.driver().refuse_restore(day.taken, ())
    assert theirs in day.lab.databases()


@pytest.mark.parametrize("error", [OSError("no"), pymysql.OperationalError(1114, "full")], ids=repr)
def test_what_fails_after_the_swap_does_not_undo_it(
    day: Day, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    for name in ("Ledger.swapped", "Capturer.end"):
        monkeypatch.setattr(f"lastgood.drivers.mariadb.restore.{name}", refuse)
    day.go_back()
    monkeypatch.undo()
    check(day)
    assert day.lab.driver().abandon(RESTORE)


def test_two_at_once_are_one(day: Day) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(day.go_back_again())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert len({swapped.failed for swapped in found}) == 1
    check(day)


def test_sessions_wait_and_see_the_restored_database(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is thrown out: a statement that comes into the fence is done in the restored tables."""
    clients: list[threading.Thread] = []
    surpass = numbers.surpass

    def write(client: Any) -> None:
        with contextlib.closing(client), client.cursor() as cursor:
            cursor.execute("UPDATE products SET stock = 1 WHERE id = 10")

    def waits() -> bool:
        question = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'UPDATE products%'"
        return bool(day.lab.ask(question, ""))

    def meanwhile(*arguments: Any) -> None:
        clients.append(threading.Thread(target=write, args=(day.lab.session(),)))
        clients[0].start()
        until(waits)
        surpass(*arguments)

    monkeypatch.setattr(numbers, "surpass", meanwhile)
    failed = day.go_back().failed
    clients[0].join()
    assert day.lab.ask("SELECT stock FROM products WHERE id = 10") == [(1,)]
    assert day.lab.ask("SELECT stock FROM products WHERE id = 10", failed) == [(97,)]


def test_a_transaction_that_does_not_end_is_not_waited_for_forever(day: Day) -> None:
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    with contextlib.closing(day.lab.session(autocommit=False)) as client, client.cursor() as cursor:
        cursor.execute("UPDATE orders SET paid = true WHERE id = 20")
        with pytest.raises(Rejected, match="held by other sessions"):
            driver.swap(day.taken, RESTORE, ())
        day.lab.ask("UPDATE products SET name = 'still open' WHERE id = 10")
        client.commit()
    driver.swap(day.taken, RESTORE, ())
    assert day.lab.ask("SELECT paid FROM orders WHERE id = 20") == [(1,)]
    assert day.lab.ask("SELECT name FROM products WHERE id = 10") == [("still open",)]
    check(day)


def test_killed_among_the_renames_all_tables_are_old_or_all_are_new(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = Day.begin(lab, "".join(f"CREATE TABLE t{n} (id int PRIMARY KEY);" for n in range(20)))
    day.migrate(
        "UPDATE products SET price = 0;" + "".join(f"INSERT INTO t{n} VALUES (1);" for n in range(20))
    )

    def killing(*arguments: Any) -> Any:
        result = run(*arguments)
        if arguments[1] == "UNLOCK TABLES":
            until(lambda: any(lab.server.data.glob(f"{lab.name}_failed_*/t7.*")))
            lab.server.kill()
        return result

    monkeypatch.setattr("lastgood.drivers.mariadb.fence.run", killing)
    with pytest.raises((Unreachable, OutcomeUnknown)):
        day.go_back_again()
    monkeypatch.undo()
    lab.server.start()
    assert len({lab.ask(f"SELECT COUNT(*) FROM t{n}")[0] for n in range(20)}) == 1
    day.go_back_again()
    assert lab.ask("SELECT COUNT(*) FROM t7") == [(0,)]
    assert lab.ask("SELECT price FROM products WHERE id = 1") == [(10,)]
