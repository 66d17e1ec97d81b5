"""Real servers and the fake, against the same suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.testing.conformance_restores import RestoresConformance, Subject
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
        def build() -> FakeDatabase:
            return FakeDatabase(tmp_path / "db" / "shop.sqlite", tmp_path / "snapshots")

        def databases() -> list[str]:
            found = (path.name for path in (tmp_path / "db").iterdir())
            return [name for name in found if not name.endswith(".json")]

        return Subject(build, build().ask, databases)
