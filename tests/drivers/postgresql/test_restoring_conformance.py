"""Real servers and the fake, against the same suite."""

from __future__ import annotations

import contextlib
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from lastgood.testing.conformance_restores import (
    KeepsWarmConformance,
    RestoresConformance,
    Subject,
    WarmSubject,
)
from lastgood.testing.fake_database import FakeDatabase
from tests.drivers.postgresql.conftest import Lab


class TestLiveRestores(RestoresConformance):
    @pytest.fixture
    def subject(self, lab: Lab) -> Subject:
        return Subject(
            lambda: lab.driver(lock_timeout=2.0, lock_deadline=5.0), lab.ask,
            lambda: [name for name in lab.databases() if name.startswith(lab.name)],
        )  # fmt: skip


class TestFakeRestores(RestoresConformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return Subject(partial(fake, tmp_path), fake(tmp_path).ask, partial(fakes, tmp_path))


class TestLiveWarm(KeepsWarmConformance):
    @pytest.fixture
    def subject(self, lab: Lab) -> WarmSubject:
        def touch(name: str) -> None:
            lab.ask(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true', name="postgres")
            lab.ask("DELETE FROM items", name=name)
            lab.ask(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false', name="postgres")

        return WarmSubject(
            lambda: lab.driver(lock_timeout=2.0, lock_deadline=5.0), lab.ask,
            lambda: [name for name in lab.databases() if name.startswith(lab.name)], touch,
        )  # fmt: skip


class TestFakeWarm(KeepsWarmConformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> WarmSubject:
        def touch(name: str) -> None:
            with contextlib.closing(sqlite3.connect(tmp_path / "db" / name)) as connection, connection:
                connection.execute("DELETE FROM items")

        return WarmSubject(partial(fake, tmp_path), fake(tmp_path).ask, partial(fakes, tmp_path), touch)


def fake(path: Path) -> FakeDatabase:
    return FakeDatabase(path / "db" / "shop.sqlite", path / "snapshots")


def fakes(path: Path) -> list[str]:
    found = (one.name for one in (path / "db").iterdir())
    return [name for name in found if not name.endswith(".json")]
