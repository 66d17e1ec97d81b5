"""One real server for all tests, and an empty database for each."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pymysql
import pytest

from lastgood.domain.unit import UnitId
from lastgood.drivers.mariadb.driver import MariadbDriver, create
from lastgood.ports.content import Vault
from lastgood.testing.conformance_migrates import Subject
from lastgood.testing.fake_files import FakeVault
from lastgood.testing.mariadb_server import MariadbServer, mariadb

UNIT = UnitId("storefront", "prod", "us")


@dataclass
class Tools:
    """What a driver is given; implements ``DriverTools``."""

    directory: Path
    vault: Vault = field(default_factory=FakeVault)
    objects: Any = None


@dataclass
class Lab:
    """One database on one server."""

    server: MariadbServer
    name: str
    tools: Tools

    def driver(self, **settings: Any) -> MariadbDriver:
        base = {"url": self.server.url(self.name), "resource": "shop@prod/us", "lock_timeout": 1}
        return cast(MariadbDriver, create(UNIT, {**base, "lock_deadline": 0.5, **settings}, self.tools))

    def ask(self, query: str, name: str | None = None) -> list[tuple[object, ...]]:
        connection = self.session(name)
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def session(self, name: str | None = None, user: str = "root", **settings: Any) -> Any:
        return pymysql.connect(
            host="127.0.0.1",
            port=self.server.port,
            user=user,
            database=self.name if name is None else name or None,
            **{"autocommit": True, "charset": "utf8mb4", "ssl_disabled": True, **settings},
        )

    def databases(self) -> list[str]:
        return [str(row[0]) for row in self.ask("SHOW DATABASES", "")]

    @property
    def subject(self) -> Subject:
        return Subject(self.driver, self.ask, drop_index="DROP INDEX {index} ON orders", names_indexes=True)


@pytest.fixture(scope="session")
def server() -> Iterator[MariadbServer]:
    directory = Path(tempfile.mkdtemp(prefix="lastgood-test-mariadb-"))
    try:
        with mariadb(directory) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def lab(server: MariadbServer, tmp_path: Path) -> Iterator[Lab]:
    """A database of the test's own."""
    lab = Lab(server, "shop_" + uuid.uuid4().hex[:8], Tools(tmp_path))
    lab.ask(f"CREATE DATABASE {lab.name}", "")
    yield lab
    for name in lab.databases():
        if name.startswith(lab.name):
            lab.ask(f"DROP DATABASE `{name}`", "")
