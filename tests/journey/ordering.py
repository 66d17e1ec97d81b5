"""A shop whose customers order the whole time, and a change that spoils its prices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from lastgood.testing.caddy_server import caddy, free_port
from lastgood.testing.postgres_server import PostgresServer, postgres
from tests.journey.conftest import stop_everything, wait_for
from tests.journey.world import World

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


@contextmanager
def logical_server(directory: Path) -> Iterator[PostgresServer]:
    """One whose log tells what was written, with a bound on what it keeps."""
    with postgres(directory, settings=LOGICAL) as started:
        yield started


@contextmanager
def ordering_world(root: Path, server: PostgresServer) -> Iterator[World]:
    """A world with a shop's database."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
        connection.execute("CREATE DATABASE shop")
    with caddy(root) as proxy:
        ports = {"dev": free_port(), "prod": free_port()}
        made = World(root, proxy.admin, ports, server.url("shop"))
        made.migration("0001_init", SHOP)
        made.commit("first", text="one")
        yield made
        stop_everything(root)


@dataclass
class Customers:
    """Each orders again and again; what was acknowledged is written down, of what was refused the reason."""

    url: str
    refused: list[str] = field(default_factory=list)
    acknowledged: list[tuple[int, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def order(self, name: str) -> None:
        number = 0
        while not self.over.is_set():
            try:
                # In a pooler the next transaction may be in another session: nothing is prepared in it.
                way = psycopg.connect(self.url, autocommit=True, connect_timeout=5, prepare_threshold=None)
                with way as connection:
                    while not self.over.wait(0.01):
                        who = f"{name}-{number}"
                        self._once(connection, who, number % 5 + 1)
                        number += 1
            except psycopg.Error as error:
                self.refused.append(str(error))
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
def customers(world: World, url: str = "") -> Iterator[Customers]:
    """``url``: where they order, if not at the database itself."""
    shop = Customers(url or world.database_url)
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
