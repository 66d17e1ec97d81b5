"""A change spoils data in an SQLite file while customers order: back to before it, every order there,
once.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState
from lastgood.testing.caddy_server import caddy, free_port
from tests.journey.conftest import stop_everything, wait_for
from tests.journey.driving import begin, deploy_well, end_of
from tests.journey.page import page
from tests.journey.world import DEV, World

SHOP = (
    "CREATE TABLE items (id integer PRIMARY KEY, price integer NOT NULL, stock integer NOT NULL);\n"
    "CREATE TABLE orders (id integer PRIMARY KEY AUTOINCREMENT,\n"
    "  item integer NOT NULL REFERENCES items (id), who text NOT NULL UNIQUE);\n"
    "INSERT INTO items VALUES (1, 101, 100000), (2, 102, 100000);\n",
    "SELECT id, item, who FROM orders WHERE false;\n",
    "DROP TABLE orders;\nDROP TABLE items;\n",
)
SPOILS = (
    "UPDATE items SET price = 0;\n",
    "SELECT price FROM items WHERE false;\n",
    "UPDATE items SET price = 1;\n",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orders.db"
    path.touch()
    return path


@pytest.fixture
def world(tmp_path: Path, file: Path) -> Iterator[World]:
    with caddy(tmp_path) as proxy:
        ports = {"dev": free_port(), "prod": free_port()}
        short = {"watch": "0.5s", "guard": "0.5s", "verify": "1s"}
        made = World(tmp_path, proxy.admin, ports, f"sqlite://{file}", **short)
        made.migration("0001_init", SHOP)
        made.commit("a shop", text="one")
        yield made
        stop_everything(tmp_path)


class Customer(threading.Thread):
    """Orders all the time, one item each, and remembers what was acknowledged."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.over = threading.Event()
        self.acknowledged: list[tuple[int, str]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with contextlib.closing(connect(self.path)) as connection:
                while not self.over.wait(0.01):
                    self._order(connection)
        except sqlite3.Error as error:
            self.error = error

    def _order(self, connection: sqlite3.Connection) -> None:
        who = f"customer {len(self.acknowledged)}"
        connection.execute("BEGIN IMMEDIATE")
        made = connection.execute("INSERT INTO orders (item, who) VALUES (1, ?)", (who,))
        connection.execute("UPDATE items SET stock = stock - 1 WHERE id = 1")
        connection.execute("COMMIT")
        self.acknowledged.append((made.lastrowid or 0, who))

    def some_more(self) -> None:
        wanted = len(self.acknowledged) + 20
        wait_for(lambda: self.error is not None or len(self.acknowledged) >= wanted)
        assert self.error is None


def connect(path: Path) -> sqlite3.Connection:
    """As most programs have it: a lock is waited for as long as it takes, up to half a minute."""
    return sqlite3.connect(path, isolation_level=None, timeout=30)


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with contextlib.closing(connect(path)) as connection:
        return connection.execute(query).fetchall()


@contextlib.contextmanager
def customer(path: Path) -> Iterator[Customer]:
    thread = Customer(path)
    thread.start()
    try:
        yield thread
    finally:
        thread.over.set()
        thread.join()


def test_no_order_is_lost_on_the_way_back(world: World, file: Path) -> None:
    deploy_well(world)
    world.migration("0002_prices", SPOILS)
    world.commit("free of charge", text="two", broken=True)
    with customer(file) as shop:
        shop.some_more()
        failed = begin(world)
        assert any("lastgood restore" in str(note) for note in failed.plan.notes), failed.plan.notes
        back = end_of(world, failed.id)
        assert back.state is RolloutState.VERIFIED, str(back.outcome)
        assert page(world.ports["dev"])["text"] == "one"
        assert ask(file, "SELECT DISTINCT price FROM items") == [(0,)]
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
    assert ask(file, "SELECT id, price FROM items ORDER BY id") == [(1, 101), (2, 102)]
    there = ask(file, "SELECT id, who FROM orders")
    assert set(shop.acknowledged) <= set(there)
    assert ask(file, "SELECT SUM(100000 - stock) FROM items") == [(len(there),)]
    (status,) = world.service().status(DEV)
    assert status.left == status.captures == ()
    (aside,) = status.failed
    assert Path(aside.name).is_file()
