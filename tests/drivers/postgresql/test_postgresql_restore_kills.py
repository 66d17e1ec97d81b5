"""A restore killed at any point goes on, or is given up, and the database is the old one or the new one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from lastgood.domain.errors import DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.drivers.postgresql import fence, salvage
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.day import RESTORE, Day

ROOT = Path(__file__).parents[3]


@pytest.fixture
def day(lab: Lab) -> Day:
    """With writes on both sides of a bad migration, several batches of them."""
    day = Day.begin(lab)
    lab.ask("INSERT INTO orders (customer) VALUES ('before')")
    day.migrate("UPDATE products SET price = 0, stock = 0 WHERE id = 1;")
    for _ in range(3):
        lab.ask(
            "INSERT INTO orders (customer) VALUES ('after'); UPDATE products SET stock = stock - 1 WHERE id > 1"
        )
    return day


def die(day: Day, point: str) -> None:
    """A restore in a process of its own that is killed at ``point``."""
    lab = day.lab
    arguments = [lab.server.url(lab.name), str(lab.tools.directory), day.taken.id, point]
    command = [sys.executable, "-m", "tests.drivers.postgresql.restore_alone", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def check(day: Day) -> None:
    """Everything is there once."""
    ask = day.lab.ask
    assert ask("SELECT customer, count(*) FROM orders WHERE id > 20 GROUP BY 1 ORDER BY 1") == [
        ("after", 3),
        ("before", 1),
    ]
    assert ask("SELECT id, price, stock FROM products WHERE id < 3 ORDER BY 1") == [(1, 10, 100), (2, 20, 97)]
    assert day.lab.driver().fingerprint() == day.taken.fingerprint


POINTS = [
    ">restore.make_like",
    "<restore.Ledger.begin",
    ">restore.Ledger.begin",
    ">changes.branch",
    "<changes.advance#2",
    ">salvage.Salvager._commit",
    "<carrying.Carrier.carry#2",
    ">fence._allow",
    ">fence.end_sessions",
    "<sequences.surpass",
    ">fence.dress",
    "<fence.rename",
    ">fence.rename",
    ">restore.Ledger.swapped",
    "<restore.Ledger.settle_down",
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_it_goes_on(day: Day, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    die(day, point)
    swapped = day.go_back_again()
    check(day)
    assert swapped.salvage.conflicts == {}
    names = [name for name in day.lab.databases() if name.startswith(day.lab.name)]
    assert names == sorted([day.lab.name, swapped.failed])
    assert day.lab.ask("SELECT slot_name FROM pg_replication_slots WHERE database ~ '^shop_'") == []
    assert (
        day.lab.ask("SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'") == []
    )


@pytest.mark.parametrize(
    "point", [">restore.make_like", ">changes.branch", ">fence.end_sessions", "<fence.rename"]
)
def test_killed_it_can_be_given_up(day: Day, point: str) -> None:
    die(day, point)
    driver = day.lab.driver()
    driver.abandon(RESTORE)
    driver.abandon(RESTORE)
    assert [n for n in day.lab.databases() if n.startswith(day.lab.name)] == [day.lab.name]
    assert day.lab.ask("SELECT price FROM products WHERE id = 1") == [(0,)]
    assert (
        len(day.lab.ask("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"))
        == 1
    )
    day.go_back()
    check(day)


@pytest.mark.parametrize("moment", ["in the fence", "before the commit", "after the commit"])
def test_the_server_killed(day: Day, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old or new on restart, and the next call goes on."""
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    if moment == "in the fence":
        dress = fence.dress

        def killed(*arguments: object) -> None:
            day.lab.server.kill()
            dress(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(fence, "dress", killed)
    else:
        rename = fence.rename

        def killing(*arguments: object) -> float:
            if moment == "before the commit":
                day.lab.server.kill()
                return rename(*arguments)  # type: ignore[arg-type]
            seconds = rename(*arguments)  # type: ignore[arg-type]
            day.lab.server.kill()
            return seconds

        monkeypatch.setattr(fence, "rename", killing)
    with pytest.raises((Unreachable, OutcomeUnknown)):
        driver.swap(day.taken, RESTORE, ())
    monkeypatch.undo()
    day.lab.server.start()
    driver.swap(day.taken, RESTORE, ())
    check(day)


def test_what_fails_in_the_fence_opens_it(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)

    def refuse(*_: object) -> float:
        raise Rejected("no")

    monkeypatch.setattr(fence, "rename", refuse)
    with pytest.raises(Rejected, match="no"):
        driver.swap(day.taken, RESTORE, ())
    day.lab.ask("INSERT INTO orders (customer) VALUES ('after')")
    day.lab.ask("DELETE FROM orders WHERE id = 22")
    monkeypatch.undo()
    driver.swap(day.taken, RESTORE, ())
    check(day)


def test_a_batch_that_is_interrupted_is_carried_once(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salvage, "BATCH", 1)
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    commit, calls = salvage.Salvager._commit, []

    def fail(self: salvage.Salvager, *arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 4:
            self.copy.close()
        commit(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(salvage.Salvager, "_commit", fail)
    with pytest.raises(DriverError):
        driver.carry_over(day.taken, RESTORE, ())
    monkeypatch.setattr(salvage.Salvager, "_commit", commit)
    driver.swap(day.taken, RESTORE, ())
    check(day)


def test_two_at_once_are_one(day: Day) -> None:
    found = []
    threads = [threading.Thread(target=lambda: found.append(day.go_back_again())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({swapped.failed for swapped in found}) == 1
    assert len(found) == 2
    check(day)


def test_sessions_are_ended_and_nobody_gets_in_meanwhile(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = fence.rename

    def try_to_get_in(*arguments: object) -> float:
        with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
            day.lab.session()
        return rename(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fence, "rename", try_to_get_in)
    with day.lab.session() as client:
        client.execute("BEGIN; INSERT INTO orders (customer) VALUES ('never acknowledged')")
        day.go_back()
        with pytest.raises(psycopg.OperationalError):
            client.execute("COMMIT")
    check(day)
