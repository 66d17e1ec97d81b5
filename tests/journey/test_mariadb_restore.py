"""A change spoils data on MariaDB while customers order: back to before it, every order there, once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState
from lastgood.testing.caddy_server import caddy, free_port
from lastgood.testing.mariadb_server import MariadbServer, mariadb
from tests.journey.conftest import stop_everything, wait_for
from tests.journey.driving import begin, deploy_well, end_of
from tests.journey.ordering import SPOILS
from tests.journey.page import page
from tests.journey.world import DEV, World

SHOP = (
    "CREATE TABLE items (id int PRIMARY KEY, price int NOT NULL, stock int NOT NULL);\n"
    "CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, item int NOT NULL REFERENCES items (id),\n"
    "  who varchar(40) NOT NULL UNIQUE);\n"
    "INSERT INTO items SELECT seq, 100 + seq, 100000 FROM seq_1_to_5;\n",
    "SELECT id, item, who FROM orders WHERE false;\n",
    "DROP TABLE orders;\nDROP TABLE items;\n",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbServer]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as started:
        yield started


@pytest.fixture
def world(tmp_path: Path, server: MariadbServer) -> Iterator[World]:
    server.ask("DROP DATABASE IF EXISTS orders; CREATE DATABASE orders")
    with caddy(tmp_path) as proxy:
        made = World(tmp_path, proxy.admin, {"dev": free_port(), "prod": free_port()}, server.url("orders"))
        made.migration("0001_init", SHOP)
        made.commit("a shop", text="one")
        yield made
        stop_everything(tmp_path)


class Customer(threading.Thread):
    """Orders all the time, one item each, and remembers what was acknowledged."""

    def __init__(self, server: MariadbServer) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.over = threading.Event()
        self.acknowledged: list[tuple[int, str]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with contextlib.closing(connect(self.server)) as connection:
                while not self.over.wait(0.005):
                    self._order(connection)
        except pymysql.Error as error:
            self.error = error

    def _order(self, connection: Any) -> None:
        who = f"customer {len(self.acknowledged)}"
        with connection.cursor() as cursor:
            cursor.execute("START TRANSACTION")
            cursor.execute("INSERT INTO orders (item, who) VALUES (1, %s)", (who,))
            number = cursor.lastrowid
            cursor.execute("UPDATE items SET stock = stock - 1 WHERE id = 1")
            cursor.execute("COMMIT")
        self.acknowledged.append((number, who))

    def some_more(self) -> None:
        wanted = len(self.acknowledged) + 20
        wait_for(lambda: self.error is not None or len(self.acknowledged) >= wanted)
        assert self.error is None


def connect(server: MariadbServer) -> Any:
    return pymysql.connect(
        host="127.0.0.1", port=server.port, user="root", database="orders", ssl_disabled=True
    )


@contextlib.contextmanager
def customer(server: MariadbServer) -> Iterator[Customer]:
    thread = Customer(server)
    thread.start()
    try:
        yield thread
    finally:
        thread.over.set()
        thread.join()


def test_no_order_is_lost_on_the_way_back(world: World, server: MariadbServer) -> None:
    deploy_well(world)
    world.migration("0002_prices", SPOILS)
    world.commit("free of charge", text="two", broken=True)
    with customer(server) as shop:
        shop.some_more()
        failed = begin(world)
        assert any("lastgood restore" in str(note) for note in failed.plan.notes), failed.plan.notes
        back = end_of(world, failed.id)
        assert back.state is RolloutState.VERIFIED, str(back.outcome)
        assert page(world.ports["dev"])["text"] == "one"
        assert set(server.ask("SELECT price FROM items", "orders")) == {("0",)}
        shop.some_more()
        databases = world.service().databases
        planned = databases.plan_restore(DEV)
        written = {table.table: table for table in planned.writes.tables}
        assert written["orders"].inserted >= 20
        assert not planned.costs
        restored = databases.restore(DEV, reason="prices are 0")
        end = end_of(world, restored.id)
        assert end.state is RolloutState.VERIFIED, str(end.outcome)
        shop.some_more()
    assert end.kind is PlanKind.RESTORE
    assert server.ask("SELECT id, price FROM items ORDER BY id", "orders") == [
        (str(n), str(100 + n)) for n in range(1, 6)
    ]
    there = [(int(n), who) for n, who in server.ask("SELECT id, who FROM orders", "orders")]
    assert len(set(there)) == len(there)
    assert set(shop.acknowledged) <= set(there)
    assert server.ask("SELECT SUM(100000 - stock) FROM items", "orders") == [(str(len(there)),)]
    (status,) = world.service().status(DEV)
    assert status.left == status.captures == ()
    (aside,) = status.failed
    assert (aside.name,) in server.ask("SHOW DATABASES")
