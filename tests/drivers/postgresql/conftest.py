"""Both real servers, Debian's 15 and the wheel's 18, and a fresh database for each test."""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from lastgood.domain.unit import UnitId
from lastgood.drivers.postgresql.driver import PostgresqlDriver, create
from lastgood.ports.content import Vault
from lastgood.testing.conformance_migrates import Subject
from lastgood.testing.fake_files import FakeVault
from lastgood.testing.postgres_server import PostgresServer, postgres

UNIT = UnitId("storefront", "prod", "us")
LOGICAL = {"wal_level": "logical", "max_slot_wal_keep_size": "1GB", "max_prepared_transactions": "2"}


@dataclass
class Tools:
    """What a driver is given; implements ``DriverTools``."""

    directory: Path
    vault: Vault = field(default_factory=FakeVault)
    objects: Any = None


@dataclass
class Lab:
    """One database on one server."""

    server: PostgresServer
    name: str
    tools: Tools
    settings: dict[str, Any] = field(default_factory=dict)
    """Of every driver that is made for it."""

    def driver(self, **settings: Any) -> PostgresqlDriver:
        base = {"url": self.server.url(self.name), "resource": "shop@prod/us", "lock_timeout": 0.2}
        mine = {**base, "lock_deadline": 0.5, **self.settings, **settings}
        return cast(PostgresqlDriver, create(UNIT, mine, self.tools))

    def ask(self, query: str, **settings: Any) -> list[tuple[object, ...]]:
        with self.session(**settings) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def session(self, name: str = "", user: str = "postgres", **settings: Any) -> psycopg.Connection[Any]:
        url = self.server.url(name or self.name, user)
        return psycopg.connect(url, **{"autocommit": True, "application_name": "test", **settings})

    def databases(self) -> list[str]:
        return [
            str(row[0]) for row in self.ask("SELECT datname FROM pg_database ORDER BY 1", name="postgres")
        ]

    @property
    def subject(self) -> Subject:
        return Subject(self.driver, self.ask)


def run(version: str) -> Iterator[PostgresServer]:
    directory = Path(tempfile.mkdtemp(prefix=f"lastgood-test-{version}-"))
    directory.chmod(0o755)
    try:
        with postgres(directory, version=version, settings=LOGICAL) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


SERVERS = ("debian", "wheel")
ON_ONE = {
    "test_postgresql_capture_trouble": "wheel",
    "test_postgresql_snapshot": "debian",
    "test_postgresql_sealed": "debian",
    "test_postgresql_rights": "wheel",
    "test_postgresql_expiring": "wheel",
    "test_postgresql_trouble": "wheel",
    "test_postgresql_realism": "debian",
    "test_postgresql_alone": "wheel",
    "test_postgresql_aside": "wheel",
    "test_postgresql_capture": "debian",
    "test_postgresql_restore_swap": "wheel",
    "test_postgresql_undo": "debian",
    "TestLiveRehearsesWrites": "debian",
    "TestLiveWarm": "wheel",
    "test_postgresql_warm": "wheel",
    "test_postgresql_pooler": "debian",
    "test_postgresql_replicas": "debian",
}
"""What a death or a lock leaves behind, or is ours alone, does not depend on the version; the rest is
tried on both.
"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = metafunc.definition.iter_markers("parametrize")
    if "server" in metafunc.fixturenames and not any("server" in mark.args[0] for mark in marks):
        cls = metafunc.cls.__name__ if metafunc.cls else ""
        only = ON_ONE.get(cls) or ON_ONE.get(metafunc.module.__name__.rpartition(".")[2])
        metafunc.parametrize("server", [only] if only else SERVERS, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    yield from run(request.param)


RESET = """
DROP SCHEMA IF EXISTS lastgood CASCADE; DROP SCHEMA public CASCADE;
CREATE SCHEMA public AUTHORIZATION pg_database_owner; GRANT USAGE ON SCHEMA public TO PUBLIC
"""


@pytest.fixture(scope="session")
def emptied_name(server: PostgresServer) -> str:
    name = "shop_" + uuid.uuid4().hex[:8]
    Lab(server, name, Tools(Path())).ask(f"CREATE DATABASE {name}", name="postgres")
    return name


@pytest.fixture
def emptied_lab(server: PostgresServer, emptied_name: str, tmp_path: Path) -> Iterator[Lab]:
    """An empty database that tests share one after the other: quicker, for those that only fill it."""
    lab = Lab(server, emptied_name, Tools(tmp_path))
    lab.ask(RESET)
    yield lab
    for name in lab.databases():
        if name.startswith(f"{lab.name}_"):
            lab.ask(f'DROP DATABASE "{name}" WITH (FORCE)', name="postgres")


@pytest.fixture
def lab(server: PostgresServer, tmp_path: Path) -> Iterator[Lab]:
    """A database of the test's own."""
    lab = Lab(server, "shop_" + uuid.uuid4().hex[:8], Tools(tmp_path))
    lab.ask(f"CREATE DATABASE {lab.name}", name="postgres")
    yield lab
    for name in lab.databases():
        if name.startswith(lab.name):
            lab.ask(f'DROP DATABASE "{name}" WITH (FORCE)', name="postgres")


@pytest.fixture
def capturing_lab(emptied_lab: Lab) -> Iterator[Lab]:
    """Leaves no capture behind, and sees to it that the test left nothing of reading or opening one."""
    yield emptied_lab
    found = [str(row[0]) for row in emptied_lab.ask("SELECT slot_name FROM pg_replication_slots")]
    for name in found:
        emptied_lab.ask(f"SELECT pg_drop_replication_slot('{name}')")
    for (name,) in emptied_lab.ask("SELECT pubname FROM pg_publication"):
        emptied_lab.ask(f"DROP PUBLICATION {name}")
    assert [name for name in found if not re.fullmatch(r"lastgood_[0-9a-f]{12}_[0-9a-f]{16}", name)] == []
