"""An empty database file for each test, with a rollback journal and in WAL mode."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from lastgood.domain.unit import UnitId
from lastgood.drivers.sqlite.driver import SqliteDriver, create
from lastgood.ports.content import Vault
from lastgood.testing.conformance_migrates import Subject
from lastgood.testing.fake_files import FakeVault

UNIT = UnitId("erp-sync", "prod", "us")


@dataclass
class Tools:
    """What a driver is given; implements ``DriverTools``."""

    directory: Path
    vault: Vault = field(default_factory=FakeVault)
    objects: Any = None


@dataclass
class Lab:
    """One database file, in a folder of its own."""

    path: Path
    tools: Tools

    @classmethod
    def make(cls, directory: Path, mode: str) -> Lab:
        (directory / "data").mkdir()
        lab = cls(directory / "data" / "shop.db", Tools(directory / "state"))
        lab.tools.directory.mkdir()
        with contextlib.closing(sqlite3.connect(lab.path)) as connection:
            assert connection.execute(f"PRAGMA journal_mode = {mode}").fetchone() == (mode,)
        lab.path.touch()
        return lab

    def driver(self, **settings: Any) -> SqliteDriver:
        base = {"url": f"sqlite://{self.path}", "resource": "shop@prod/us", "lock_timeout": 0.2}
        return cast(SqliteDriver, create(UNIT, {**base, "lock_deadline": 0.5, **settings}, self.tools))

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with contextlib.closing(self.session()) as connection:
            return connection.execute(query).fetchall()

    def script(self, text: str) -> None:
        with contextlib.closing(self.session()) as connection:
            connection.executescript(text)

    def session(self, timeout: float = 5.0) -> sqlite3.Connection:
        """As a program of the shop has it."""
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=timeout)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def databases(self) -> list[str]:
        """Files beside it, itself included, but not what the library keeps beside one in use."""
        return sorted(
            str(file)
            for file in self.path.parent.iterdir()
            if not file.name.endswith(("-wal", "-shm", "-journal"))
        )

    @property
    def subject(self) -> Subject:
        return Subject(self.driver, self.ask)


@pytest.fixture(params=["delete", "wal"])
def mode(request: pytest.FixtureRequest) -> str:
    """How the database keeps what is not committed."""
    return str(request.param)


@pytest.fixture
def lab(tmp_path: Path, mode: str) -> Lab:
    return Lab.make(tmp_path, mode)
