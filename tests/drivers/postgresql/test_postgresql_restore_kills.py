"""A restore killed at any point goes on, or is given up, and the database is the old one or the new one."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

import psycopg
import pytest

from lastgood.domain.errors import DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.drivers.postgresql import fence, salvage
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.settings import PostgresqlSettings
from lastgood.testing.fake_files import FakeVault
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.day import RESTORE, Day
from tests.drivers.postgresql.dying import check, die


@pytest.fixture
def day(lab: Lab) -> Day:
    """With writes on both sides of a bad migration, several batches of them."""
    day = Day.begin(lab)
    lab.ask("INSERT INTO orders (customer) VALUES ('before')")
    day.migrate("UPDATE products SET price = 0, stock = 0 WHERE id = 1;")
    for _ in range(3):
        lab.ask("INSERT INTO orders (customer) VALUES ('after')")
        lab.ask("UPDATE products SET stock = stock - 1 WHERE id > 1")
    return day


POINTS = [
    ("wheel", ">restore.make_like"),
    ("debian", "<restore.Ledger.begin"),
    ("wheel", ">restore.Ledger.begin"),
    ("debian", ">changes.branch"),
    ("wheel", "<changes.advance#2"),
    ("debian", ">salvage.Salvager._commit"),
    ("wheel", "<carrying.Carrier.carry#2"),
    ("debian", ">fence._allow"),
    ("wheel", ">fence.end_sessions"),
    ("debian", "<sequences.surpass"),
    ("wheel", ">fence.dress"),
    ("debian", "<fence.rename"),
    ("wheel", ">fence.rename"),
    ("debian", ">restore.Ledger.swapped"),
    ("wheel", "<restore.Ledger.settle_down"),
]


@pytest.mark.parametrize(("server", "point"), POINTS, indirect=["server"])
def test_killed_it_goes_on(day: Day, point: str) -> None:
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
    ("server", "point"),
    [("debian", ">restore.make_like"), ("wheel", ">changes.branch"), ("debian", ">fence.end_sessions")],
    indirect=["server"],
)
def test_killed_it_can_be_given_up(day: Day, point: str) -> None:
    die(day, point)
    driver = day.lab.driver()
    assert not driver.abandon(RESTORE)
    assert not driver.abandon(RESTORE)
    assert [n for n in day.lab.databases() if n.startswith(day.lab.name)] == [day.lab.name]
    assert day.lab.ask("SELECT price FROM products WHERE id = 1") == [(0,)]
    assert (
        len(day.lab.ask("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()"))
        == 1
    )
    day.go_back()
    check(day)


@pytest.mark.parametrize(
    ("server", "point"), [("wheel", ">fence.end_sessions"), ("debian", ">fence.dress")], indirect=["server"]
)
def test_looked_at_again_what_a_crash_left_closed_is_open(day: Day, point: str) -> None:
    """Also by whoever does not know the key of the restore that died."""
    die(day, point)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        day.lab.session()
    day.lab.driver().refuse_restore(day.taken, ())
    assert day.lab.ask("SELECT price FROM products WHERE id = 1") == [(0,)]


@pytest.mark.parametrize(
    ("server", "moment"),
    [("debian", "in the fence"), ("wheel", "before the commit"), ("debian", "after the commit")],
    indirect=["server"],
)
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


@pytest.mark.parametrize("error", [Rejected("no"), OSError("no"), psycopg.errors.DiskFull("no")], ids=repr)
@pytest.mark.parametrize("server", ["wheel"], indirect=True)
def test_what_fails_after_the_swap_does_not_undo_it(
    day: Day, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    for name in ("Ledger.swapped", "Capturer.end", "Ledger.settle_down"):
        monkeypatch.setattr(f"lastgood.drivers.postgresql.restore.{name}", refuse)
    swapped = day.go_back()
    check(day)
    assert swapped.salvage.carried == {"orders": 4, "products": 9, "log": 4}
    assert day.lab.ask("SELECT 1", name=swapped.failed) == [(1,)]


def test_given_up_after_a_swap_whose_answer_was_lost(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the failed database does not stay closed with a capture that nobody ends."""
    rename = fence.rename

    def unanswered(*arguments: object) -> float:
        rename(*arguments)  # type: ignore[arg-type]
        raise OutcomeUnknown("lost")

    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    monkeypatch.setattr(fence, "rename", unanswered)
    with pytest.raises(OutcomeUnknown):
        driver.swap(day.taken, RESTORE, ())
    monkeypatch.undo()
    for _ in range(2):
        assert driver.abandon(RESTORE)
    check(day)
    failed = driver.swap(day.taken, RESTORE, ()).failed
    assert day.lab.ask("SELECT price FROM products WHERE id = 1", name=failed) == [(0,)]
    assert day.lab.ask("SELECT slot_name FROM pg_replication_slots WHERE database ~ '^shop_'") == []


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


def test_a_rename_that_the_server_refuses_opens_it(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = fence.rename

    def taken(admin: Any, server: Any, copy: str, _: str) -> float:
        return rename(admin, server, copy, "postgres")

    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    monkeypatch.setattr(fence, "rename", taken)
    with pytest.raises(Rejected, match='database "postgres" already exists'):
        driver.swap(day.taken, RESTORE, ())
    assert day.lab.ask("SELECT price FROM products WHERE id = 1") == [(0,)]
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


@pytest.mark.parametrize("server", ["debian"], indirect=True)
def test_another_one_at_work_is_told_not_waited_for(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Server(
        PostgresqlSettings.read({"url": day.lab.server.url(day.lab.name)}), FakeVault(), day.lab.name
    )
    monkeypatch.setattr(fence, "WAIT", 0.2)
    with fence.maintenance(there):
        for act in (lambda: day.lab.driver().refuse_restore(day.taken, ()), day.go_back_again):
            with pytest.raises(Rejected, match=r"another restore of .* is at work"):
                act()
    day.go_back()


def test_the_server_soon_forgets_one_whose_host_is_gone(lab: Lab) -> None:
    """In less than another one waits for it."""
    there = Server(PostgresqlSettings.read({"url": lab.server.url(lab.name)}), FakeVault(), lab.name)
    with fence.maintenance(there) as admin, there.patient_session() as live:
        for connection in (admin, live):
            idle, interval, count = (
                int(connection.execute(f"SHOW tcp_keepalives_{name}").fetchone()[0])  # type: ignore[index]
                for name in ("idle", "interval", "count")
            )
            assert 0 < idle + interval * count < fence.WAIT


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


def test_who_comes_in_as_it_closes_is_not_missed(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the server's question whether it may come in, and not among the sessions yet."""
    close, acknowledged = fence._allow, []

    def come_in() -> None:
        slow = "-c post_auth_delay=1"
        with contextlib.suppress(psycopg.OperationalError), day.lab.session(options=slow) as client:
            client.execute("INSERT INTO orders (customer) VALUES ('late')")
            acknowledged.append("late")

    late = threading.Thread(target=come_in)

    def closing(admin: Connection, name: str, *, yes: bool) -> None:
        if not yes:
            late.start()
            while not one(admin, fence._STARTING, name):
                time.sleep(0.005)
        close(admin, name, yes=yes)

    monkeypatch.setattr(fence, "_allow", closing)
    day.go_back()
    late.join()
    assert len(day.lab.ask("SELECT id FROM orders WHERE customer = 'late'")) >= len(acknowledged)
