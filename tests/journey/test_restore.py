"""A change spoils data while customers order: back to before it, and every order is there, once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState
from lastgood.testing.caddy_server import caddy, free_port
from lastgood.testing.postgres_server import PostgresServer, postgres
from tests.journey.conftest import stop_everything, wait_for
from tests.journey.driving import begin, deploy_well, end_of
from tests.journey.page import page
from tests.journey.world import DEV, World

RESOURCE = "orders@dev/us"
LOGICAL = {"wal_level": "logical", "max_slot_wal_keep_size": "256MB"}
SHOP = (
    "CREATE TABLE items (id bigint PRIMARY KEY, price integer NOT NULL, stock integer NOT NULL);\n"
    "INSERT INTO items SELECT n, 100 + n, 100000 FROM generate_series(1, 5) n;\n"
    "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " item bigint NOT NULL REFERENCES items, who text NOT NULL, note text);\n",
    "SELECT id, item, who, note FROM orders WHERE false;\n",
    "DROP TABLE orders;\nDROP TABLE items;\n",
)
SPOILS = (
    "UPDATE items SET price = 0;\n",
    "SELECT price FROM items WHERE false;\n",
    "UPDATE items SET price = 1;\n",
)


@pytest.fixture(scope="module")
def logical(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres(tmp_path_factory.mktemp("pg"), settings=LOGICAL) as started:
        yield started


@pytest.fixture
def world(tmp_path: Path, logical: PostgresServer) -> Iterator[World]:
    with psycopg.connect(logical.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE shop")
    with caddy(tmp_path) as proxy:
        ports = {"dev": free_port(), "prod": free_port()}
        made = World(tmp_path, proxy.admin, ports, logical.url("shop"))
        made.migration("0001_init", SHOP)
        made.commit("first", text="one")
        yield made
        stop_everything(tmp_path)


@dataclass
class Customers:
    """Each orders again and again; what was acknowledged is written down, what was refused is not."""

    url: str
    acknowledged: list[tuple[int, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def order(self, name: str) -> None:
        number = 0
        while not self.over.is_set():
            try:
                with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
                    while not self.over.wait(0.01):
                        who = f"{name}-{number}"
                        self._once(connection, who, number % 5 + 1)
                        number += 1
            except psycopg.Error:
                # Sent and unanswered counts as not acknowledged: its number is not used again.
                number += 1
                self.over.wait(0.02)

    def _once(self, connection: psycopg.Connection, who: str, item: int) -> None:
        with connection.transaction():
            row = connection.execute(
                "INSERT INTO orders (item, who) VALUES (%s, %s) RETURNING id", (item, who)
            ).fetchone()
            connection.execute("UPDATE items SET stock = stock - 1 WHERE id = %s", (item,))
        assert row is not None
        self.acknowledged.append((row[0], who))


@contextmanager
def customers(world: World) -> Iterator[Customers]:
    shop = Customers(world.database_url)
    threads = [threading.Thread(target=shop.order, args=(f"c{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield shop
    finally:
        shop.over.set()
        for thread in threads:
            thread.join(20)


def rows(world: World, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(world.database_url) as connection:
        return connection.execute(query).fetchall()


def some_more(shop: Customers, count: int = 20) -> None:
    wanted = len(shop.acknowledged) + count
    wait_for(lambda: len(shop.acknowledged) >= wanted)


def test_no_order_is_lost_on_the_way_back(world: World) -> None:
    deploy_well(world)
    world.migration("0002_prices", SPOILS)
    world.commit("free of charge", text="two", broken=True)
    with customers(world) as shop:
        some_more(shop)
        failed = begin(world)
        assert any("lastgood restore" in str(note) for note in failed.plan.notes)
        back = end_of(world, failed.id)
        assert back.state is RolloutState.VERIFIED, str(back.outcome)
        assert f"lastgood restore {DEV}" in str(back.outcome)
        assert page(world.ports["dev"])["text"] == "one"
        assert {row[0] for row in rows(world, "SELECT price FROM items")} == {0}
        some_more(shop)
        databases = world.service().databases
        planned = databases.plan_restore(DEV)
        written = {table.table: table for table in planned.writes.tables}
        assert written["orders"].inserted >= 20
        assert not planned.costs
        restored = databases.restore(DEV, reason="prices are 0")
        end = end_of(world, restored.id)
        assert end.state is RolloutState.VERIFIED, str(end.outcome)
        some_more(shop)
    assert rows(world, "SELECT id, price FROM items ORDER BY id") == [(n, 100 + n) for n in range(1, 6)]
    there = rows(world, "SELECT id, who FROM orders")
    assert len(set(there)) == len(there) == len({who for _, who in there})
    assert set(shop.acknowledged) <= set(there)
    sold = rows(world, "SELECT sum(100000 - stock) FROM items")[0][0]
    assert sold == len(there)
    highest = max(number for number, _ in shop.acknowledged)
    ((following,),) = rows(world, "SELECT nextval(pg_get_serial_sequence('orders', 'id'))")
    assert following > highest  # type: ignore[operator]
    (status,) = world.service().status(DEV)
    assert status.left == status.captures == ()
    (aside,) = status.failed
    assert (aside.name,) in rows(world, "SELECT datname FROM pg_database")
    assert rows(world, "SELECT count(*) FROM pg_replication_slots") == [(0,)]
    assert end.kind is PlanKind.RESTORE
