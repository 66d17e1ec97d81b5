"""A restore with PgBouncer in front: its clients wait, and whatever dies, nobody waits for ever."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from lastgood.domain.errors import Rejected, Unreachable
from lastgood.drivers.postgresql import fence, pooler
from lastgood.drivers.postgresql.endpoints import Endpoint, endpoints
from lastgood.testing.pgbouncer_server import STATS, PgbouncerServer, pgbouncer
from lastgood.testing.postgres_server import PostgresServer
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.day import RESTORE, Day
from tests.drivers.postgresql.dying import check, die
from tests.drivers.postgresql.waiting import until


@pytest.fixture(scope="module")
def bouncer(server: PostgresServer) -> Iterator[PgbouncerServer]:
    with pgbouncer() as started:
        started.serve({"*": where(server)})
        yield started


@dataclass
class Fronted:
    """A day at a shop whose customers come through a pooler; ``settings``: how we know of it."""

    day: Day
    bouncer: PgbouncerServer
    settings: dict[str, Any]
    least: str = "0"

    def serve(self, **settings: str) -> None:
        name = self.day.lab.name
        self.least = settings.get("min_pool_size", "0")
        self.bouncer.serve({name: f"{where(self.day.lab.server)} dbname={name}"}, **settings)

    def session(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.bouncer.url(self.day.lab.name), autocommit=True, prepare_threshold=None)

    def paused(self) -> list[object]:
        return [row["name"] for row in self.bouncer.ask("SHOW DATABASES") if row["paused"]]

    def own(self) -> bool:
        """It has the settings that it was started with."""
        config = {row["key"]: row["value"] for row in self.bouncer.ask("SHOW CONFIG")}
        return (config["server_login_retry"], config["min_pool_size"]) == ("15", self.least)


def where(server: PostgresServer) -> str:
    return f"host=127.0.0.1 port={server.port}"


@pytest.fixture
def fronted(lab: Lab, bouncer: PgbouncerServer) -> Iterator[Fronted]:
    found = Fronted(Day.begin(lab), bouncer, {"poolers": [{"url": bouncer.console}]})
    lab.settings = found.settings
    found.day.lab.ask("INSERT INTO orders (customer) VALUES ('before')")
    found.day.migrate("UPDATE products SET price = 0, stock = 0 WHERE id = 1;")
    for _ in range(3):
        lab.ask("INSERT INTO orders (customer) VALUES ('after')")
        lab.ask("UPDATE products SET stock = stock - 1 WHERE id > 1")
    found.serve()
    yield found
    bouncer.stop()


class Customer(threading.Thread):
    """Orders through the pooler until told to go; what fails is written down, and it comes again."""

    def __init__(self, fronted: Fronted, name: str, over: threading.Event) -> None:
        super().__init__(daemon=True, name=name)
        self.fronted, self.over = fronted, over
        self.ordered, self.longest = 0, 0.0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self.over.is_set():
            try:
                with self.fronted.session() as connection:
                    while not self.over.is_set():
                        self._order(connection)
            except psycopg.Error as error:
                self.failures.append(str(error))

    def _order(self, connection: psycopg.Connection[Any]) -> None:
        begun = time.monotonic()
        with connection.transaction():
            connection.execute("INSERT INTO orders (customer) VALUES (%s)", (self.name,))
        self.ordered += 1
        self.longest = max(self.longest, time.monotonic() - begun)


def test_nobody_is_refused_and_no_order_is_lost(fronted: Fronted) -> None:
    """Customers the whole time; with min_pool_size the pooler itself begins connections while it is paused,
    after which it would let nobody in for 15 s.
    """
    fronted.serve(min_pool_size="2")
    over = threading.Event()
    customers = [Customer(fronted, f"customer {n}", over) for n in range(4)]
    for customer in customers:
        customer.start()
    until(lambda: all(c.ordered > 5 for c in customers))
    swapped = fronted.day.go_back()
    there = [c.ordered for c in customers]
    until(lambda: all(c.ordered > before + 5 for c, before in zip(customers, there, strict=True)))
    over.set()
    for customer in customers:
        customer.join()
    assert [c.failures for c in customers] == [[]] * 4
    assert max(c.longest for c in customers) < 5
    rows = fronted.day.lab.ask(
        "SELECT customer, count(*) FROM orders WHERE customer ~ 'customer' GROUP BY 1 ORDER BY 1"
    )
    assert rows == [(c.name, c.ordered) for c in customers]
    assert fronted.day.lab.ask("SELECT 1 FROM pg_stat_activity WHERE datname ~ '_failed_'") == []
    assert swapped.fence_seconds < 5
    assert (fronted.paused(), fronted.own()) == ([], True)


def test_a_transaction_that_does_not_end_is_named_and_nobody_is_cut_off(fronted: Fronted) -> None:
    driver = fronted.day.lab.driver()
    driver.prepare_copy(fronted.day.taken, RESTORE)
    # After which the pooler answers every PAUSE at once, as long as it lives.
    fronted.bouncer.ask(f"WAIT_CLOSE {fronted.day.lab.name}")
    with fronted.session() as idle, fronted.session() as other:
        idle.execute("SET application_name = 'cart'")
        with idle.transaction():
            idle.execute("INSERT INTO orders (customer) VALUES ('slow')")
            port = _port(idle)
            with pytest.raises(Rejected, match=r"do not end: pid \d+ .*from 127.0.0.1:" + port) as caught:
                driver.swap(fronted.day.taken, RESTORE, ())
            assert "INSERT INTO orders" in str(caught.value)
            assert fronted.paused() == []
            other.execute("SELECT 1")
        assert (fronted.paused(), fronted.own()) == ([], True)
        driver.swap(fronted.day.taken, RESTORE, ())
        other.execute("SELECT 1")
    assert fronted.own()
    assert fronted.day.lab.ask("SELECT count(*) FROM orders WHERE customer = 'slow'") == [(1,)]


def _port(connection: psycopg.Connection[Any]) -> str:
    """Our side of it."""
    with socket.socket(fileno=os.dup(connection.fileno())) as found:
        return str(found.getsockname()[1])


def test_in_session_mode_clients_are_cut_off_once_and_come_back_at_once(fronted: Fronted) -> None:
    fronted.serve(pool_mode="session", min_pool_size="1")
    over = threading.Event()
    customer = Customer(fronted, "customer", over)
    customer.start()
    until(lambda: customer.ordered > 5)
    fronted.day.go_back()
    before = customer.ordered
    until(lambda: customer.ordered > before + 5, seconds=5)
    over.set()
    customer.join()
    assert len(customer.failures) == 1
    assert fronted.paused() == []


POINTS = [
    "<fence.closed",
    ">fence.end_sessions",
    ">fence.rename",
    ">restore.Ledger.swapped",
    ">pooler.Console.resume",
]


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_paused_the_next_call_resumes(fronted: Fronted, point: str) -> None:
    die(fronted.day, point)
    resumed = point in (">restore.Ledger.swapped", ">pooler.Console.resume")
    assert fronted.paused() == ([] if resumed else [fronted.day.lab.name])
    fronted.day.go_back_again()
    check(fronted.day)
    assert (fronted.paused(), fronted.own()) == ([], True)
    with fronted.session() as client:
        client.execute("SELECT 1")


@pytest.mark.parametrize("point", ["<fence.closed", ">fence.rename"])
def test_killed_while_paused_whoever_looks_or_gives_up_resumes(fronted: Fronted, point: str) -> None:
    die(fronted.day, point)
    driver = fronted.day.lab.driver()
    if point == "<fence.closed":
        driver.refuse_restore(fronted.day.taken, ())
        assert fronted.paused() == []
        die(fronted.day, point)
    assert driver.abandon(RESTORE) is (point == ">fence.rename")
    assert (fronted.paused(), fronted.own()) == ([], True)


def test_a_swap_that_fails_resumes(fronted: Fronted, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = fence.rename
    monkeypatch.setattr(
        fence, "rename", lambda admin, server, copy, _: rename(admin, server, copy, "postgres")
    )
    driver = fronted.day.lab.driver()
    driver.prepare_copy(fronted.day.taken, RESTORE)
    with pytest.raises(Rejected, match="already exists"):
        driver.swap(fronted.day.taken, RESTORE, ())
    assert (fronted.paused(), fronted.own()) == ([], True)


def test_settings_of_another_restores_pause_are_not_put_back(
    fronted: Fronted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another database behind the same pooler, which is done while this one is not."""
    rename = fence.rename

    def renaming(*given: Any) -> float:
        fronted.bouncer.ask("SET server_login_retry = '15'")
        return rename(*given)

    monkeypatch.setattr(fence, "rename", renaming)
    fronted.bouncer.ask("SET server_login_retry = '0.01'")
    fronted.day.go_back()
    assert (fronted.paused(), fronted.own()) == ([], True)


def test_who_comes_the_first_time_while_it_is_closed_is_let_in_at_once(
    fronted: Fronted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a name that nobody used, so that it was not paused; the pooler has its own settings back."""
    rename, over = fence.rename, threading.Event()
    customer = Customer(fronted, "customer", over)

    def renaming(*given: Any) -> float:
        customer.start()
        until(lambda: customer.failures)
        return rename(*given)

    monkeypatch.setattr(fence, "rename", renaming)
    fronted.bouncer.serve({"*": where(fronted.day.lab.server)})
    fronted.day.go_back()
    begun = time.monotonic()
    until(lambda: customer.ordered)
    over.set()
    customer.join()
    assert time.monotonic() - begun < 5, "not server_login_retry"
    assert (fronted.paused(), fronted.own()) == ([], True)


def test_one_that_cannot_be_paused_refuses_before_anything_is_done(fronted: Fronted) -> None:
    lab, name = fronted.day.lab, fronted.day.lab.name

    def refused(*poolers: dict[str, str]) -> str:
        with pytest.raises((Rejected, Unreachable)) as caught:
            lab.driver(poolers=list(poolers)).refuse_restore(fronted.day.taken, ())
        return str(caught.value)

    console = fronted.bouncer.console
    assert "admin access needed" in refused({"url": fronted.bouncer.url("pgbouncer", STATS)})
    assert "no such database: nosuch" in refused({"url": console, "database": "nosuch"})
    fronted.bouncer.ask(f"PAUSE {name}")
    assert f"somebody has paused {name}" in refused({"url": console})
    assert fronted.paused() == [name]
    fronted.bouncer.ask(f"RESUME {name}")
    fronted.bouncer.stop()
    assert "does not answer" in refused({"url": console})
    assert [n for n in lab.databases() if n.startswith(name)] == [name]


def test_one_that_is_gone_after_the_swap_holds_nothing_up(
    fronted: Fronted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the restore, nor the other pooler."""
    with pgbouncer() as another:
        second = Fronted(fronted.day, another, {})
        second.serve()
        fronted.day.lab.settings["poolers"].append({"url": another.console})
        _stop_at_the_rename(fronted, second, monkeypatch)


def _stop_at_the_rename(fronted: Fronted, second: Fronted, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = fence.rename

    def and_stop(*arguments: Any) -> float:
        seconds = rename(*arguments)
        assert fronted.paused() == second.paused() == [fronted.day.lab.name]
        fronted.bouncer.stop()
        return seconds

    monkeypatch.setattr(fence, "rename", and_stop)
    driver = fronted.day.lab.driver()
    driver.prepare_copy(fronted.day.taken, RESTORE)
    with pytest.raises(Unreachable):
        driver.swap(fronted.day.taken, RESTORE, ())
    assert second.paused() == []
    monkeypatch.undo()
    driver.swap(fronted.day.taken, RESTORE, ())
    check(fronted.day)


def test_every_name_that_leads_to_the_database_is_paused(fronted: Fronted) -> None:
    name = fronted.day.lab.name
    there = f"{where(fronted.day.lab.server)} dbname={name}"
    fronted.bouncer.serve({name: there, "the-shop.2": there, "other": f"{there}_other"})
    seen = []
    with pooler.console(_endpoint(fronted), fronted.day.lab.tools.vault) as console:
        seen = [pool.name for pool in console.pools(name)]
    assert seen == [name, "the-shop.2"]
    with psycopg.connect(fronted.bouncer.url("the-shop.2"), autocommit=True) as client:
        client.execute("SELECT 1")
        fronted.day.go_back()
        assert client.execute("SELECT current_database()").fetchone() == (name,)
    assert fronted.paused() == []


def _endpoint(fronted: Fronted) -> Endpoint:
    return endpoints(fronted.settings, "poolers")[0]
