"""A database beside the containers, and how it is taken back from a restore bundle with nothing of ours."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import psycopg

from lastgood.testing.postgres_server import PostgresServer
from tests.drivers.bundled import run
from tests.images.world import World

TOOLS = ("age", "awk", "cat", "date", "dirname", "grep", "mktemp", "rm", "sed", "sh", "sha256sum")
GIFT = (
    "ALTER TABLE orders ADD COLUMN gift text;\n",
    "SELECT gift FROM orders;\n",
    "ALTER TABLE orders DROP COLUMN gift;\n",
)


def with_database(world: World, server: PostgresServer) -> None:
    """The service uses a database that has 30 orders, and brings a migration along."""
    ask(server, "CREATE DATABASE orders", "postgres")
    ask(server, "CREATE TABLE orders (id int PRIMARY KEY)")
    ask(server, "INSERT INTO orders SELECT generate_series(1, 30)")
    database = {"driver": "postgresql", "url": server.url("orders"), "users": ["page"]}
    world.write("databases/orders/database.yaml", database)
    for kind, text in zip(("deploy", "verify", "revert"), GIFT, strict=True):
        script = world.estate / "databases/orders/migrations/0001_gift" / f"{kind}.sql"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text)
    world.service_yaml["databases"] = ["orders"]


def take_back(bundle: Path, server: PostgresServer, directory: Path, key: Path) -> None:
    """By its script, on a path where only what it needs is found."""
    directory.mkdir()
    for name in TOOLS:
        (directory / name).symlink_to(str(shutil.which(name)))
    for name in ("psql", "pg_restore"):
        (directory / name).symlink_to(server.binaries / name)
    loaded = run(bundle, directory, key=key)
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    assert "public.orders: 30 at the cut, 10 now" in loaded.stdout
    copy = re.search(r"swap (orders_bundle_\S+)", loaded.stdout)
    assert copy is not None
    swapped = run(bundle, directory, "swap", copy[1])
    assert swapped.returncode == 0, swapped.stdout + swapped.stderr
    assert ask(server, "SELECT count(*), count(gift) FROM orders") == [(30, 0)]
    assert (bundle / "revert" / "0001_gift.sql").read_text() == GIFT[2]


def ask(server: PostgresServer, query: str, database: str = "orders") -> list[tuple[object, ...]]:
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []
