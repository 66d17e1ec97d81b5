"""A shop's database of a given size on a server of its own, and the migration that spoils it."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from lastgood.domain.unit import UnitId
from lastgood.drivers.postgresql.driver import PostgresqlDriver, create
from lastgood.ports.drivers import MigrationScript
from lastgood.testing.fake_files import FakeVault
from lastgood.testing.postgres_server import PostgresServer, debian_binaries, postgres

MIB_A_SCALE = 15.3
"""What one unit of pgbench's scale takes."""
ORDERS = 50_000
SETTINGS = {
    "wal_level": "logical", "max_slot_wal_keep_size": "8GB", "max_wal_size": "4GB", "shared_buffers": "1GB",
    "maintenance_work_mem": "256MB", "max_connections": "60", "archive_mode": "on",
    "archive_command": "/bin/true",
}  # fmt: skip
SPOIL = MigrationScript(
    "0002_prices", "spoil", "UPDATE orders SET price = 0;\n", "SELECT price FROM orders WHERE false;\n",
    "UPDATE orders SET price = 1;\n",
)  # fmt: skip


@dataclass
class Tools:
    """What a driver is given; implements ``DriverTools``."""

    directory: Path
    vault: FakeVault = field(default_factory=FakeVault)
    objects: Any = None


@dataclass
class DatabaseWorld:
    """One server; each way of going back gets a database of its own on it."""

    server: PostgresServer
    root: Path

    def database(self, mib: int) -> str:
        """Make one of about that size: pgbench's tables as the bulk, and ``orders``."""
        name = "shop_" + uuid.uuid4().hex[:8]
        self.ask("postgres", f"CREATE DATABASE {name}")
        scale = max(1, round(mib / MIB_A_SCALE))
        self.tool("pgbench", "--initialize", "--quiet", f"--scale={scale}", name)
        self.ask(
            name,
            "ALTER TABLE pgbench_history ADD id bigserial PRIMARY KEY;"
            "CREATE TABLE orders (id bigserial PRIMARY KEY, number text NOT NULL UNIQUE, price int NOT NULL);"
            "INSERT INTO orders (number, price) "
            f"SELECT 'before-' || n, 100 FROM generate_series(1, {ORDERS}) n;",
        )
        self.ask(name, "VACUUM ANALYZE")
        self.ask(name, "CHECKPOINT")
        return name

    def drop(self, name: str) -> None:
        """With everything that begins with its name: copies and failed databases."""
        for (found,) in self.ask("postgres", "SELECT datname FROM pg_database"):
            if str(found).startswith(name):
                for (slot,) in self.ask(
                    "postgres",
                    f"SELECT slot_name FROM pg_replication_slots WHERE database = '{found}' AND NOT active",
                ):
                    self.ask("postgres", f"SELECT pg_drop_replication_slot('{slot}')")
                self.ask("postgres", f'DROP DATABASE "{found}" WITH (FORCE)')

    def driver(self, name: str) -> PostgresqlDriver:
        settings = {"url": self.server.url(name), "resource": f"{name}@bench", "lock_timeout": 5}
        made = create(UnitId("shop", "bench", "one"), settings, Tools(self.root / name))
        assert isinstance(made, PostgresqlDriver)
        return made

    def ask(self, name: str, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.server.url(name), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def tool(self, name: str, *arguments: str) -> str:
        """One of the server's own programs; raises RuntimeError with what it said."""
        done = subprocess.run(
            [str(self.server.binaries / name), "-h", "127.0.0.1", "-p", str(self.server.port),
             "-U", "postgres", *arguments],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr}")
        return done.stdout

    def size(self, name: str) -> int:
        return int(self.ask("postgres", f"SELECT pg_database_size('{name}')")[0][0])

    def wrong(self, name: str, acknowledged: list[str]) -> tuple[int, int]:
        """(orders whose price is spoiled, acknowledged orders that are not there)."""
        spoiled = self.ask(name, "SELECT count(*) FROM orders WHERE price <> 100")[0][0]
        there = {number for (number,) in self.ask(name, "SELECT number FROM orders")}
        return int(spoiled), sum(number not in there for number in acknowledged)


@contextmanager
def database_world(root: Path) -> Iterator[DatabaseWorld]:
    """Debian's server, so that its tools and pgBackRest fit; commits reach the disk."""
    with postgres(root / "pg", binaries=debian_binaries(), durable=True, settings=SETTINGS) as server:
        yield DatabaseWorld(server, root)
