"""The suites of every ability, on both servers and on the fake."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.ports.drivers import Classifies, GivesEvidence, Measures, Observes
from lastgood.testing import conformance_measures as measures
from lastgood.testing.conformance_measures import MeasuresConformance
from lastgood.testing.conformance_migrates import MigratesConformance, RehearsesConformance, Subject
from lastgood.testing.conformance_rehearsals import RehearsesWritesConformance
from lastgood.testing.conformance_snapshots import SnapshotsConformance
from lastgood.testing.fake_database import FakeDatabase
from tests.drivers.postgresql.conftest import Lab


class Live:
    @pytest.fixture
    def subject(self, emptied_lab: Lab) -> Subject:
        return emptied_lab.subject


class Fake:
    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        def build() -> FakeDatabase:
            return FakeDatabase(tmp_path / "db.sqlite", tmp_path / "snapshots")

        return Subject(build, build().ask)


class TestLiveMigrates(Live, MigratesConformance):
    pass


class TestLiveRehearses(Live, RehearsesConformance):
    pass


class TestLiveRehearsesWrites(Live, RehearsesWritesConformance):
    pass


class TestLiveSnapshots(Live, SnapshotsConformance):
    pass


class TestFakeMigrates(Fake, MigratesConformance):
    pass


class TestFakeRehearses(Fake, RehearsesConformance):
    pass


class TestFakeRehearsesWrites(Fake, RehearsesWritesConformance):
    pass


class TestFakeSnapshots(Fake, SnapshotsConformance):
    pass


QUERY = """
SELECT count(*) FILTER (WHERE ok), count(*)  -- not ':since', nor 100%
FROM attempts WHERE at >= :since AND at::timestamptz >= :since AND ':since' <> '%'
"""


class TestLiveMeasures(MeasuresConformance):
    @pytest.fixture
    def subject(self, emptied_lab: Lab) -> measures.Subject:
        emptied_lab.ask("CREATE TABLE attempts (ok boolean, at timestamptz DEFAULT clock_timestamp())")

        def break_target() -> None:
            name = emptied_lab.name
            emptied_lab.ask(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", name="postgres")
            ends = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
            emptied_lab.ask(ends, name="postgres")

        return measures.Subject(
            build=emptied_lab.driver,
            signal=Signal("orders", SignalKind.RATIO, "postgresql", {"query": QUERY}),
            good=lambda: _insert(emptied_lab, "true"),
            bad=lambda: _insert(emptied_lab, "false"),
            break_target=break_target,
            mend_target=lambda: _allow(emptied_lab),
        )


def _allow(emptied_lab: Lab) -> None:
    emptied_lab.ask(f"ALTER DATABASE {emptied_lab.name} ALLOW_CONNECTIONS true", name="postgres")


def _insert(emptied_lab: Lab, ok: str) -> None:
    emptied_lab.ask(f"INSERT INTO attempts VALUES ({ok})")


class TestFakeMeasures(MeasuresConformance):
    @pytest.fixture
    def subject(self, tmp_path: Path) -> measures.Subject:
        path = tmp_path / "db.sqlite"

        def build() -> FakeDatabase:
            return FakeDatabase(path, tmp_path)

        def insert(ok: int) -> None:
            since = build().begin(signal)["since"]
            build().ask(f"INSERT INTO attempts VALUES ({ok}, '{since}')")

        query = "SELECT sum(ok), count(*) FROM attempts WHERE at > :since"
        signal = Signal("orders", SignalKind.RATIO, "fake", {"query": query})
        build().ask("CREATE TABLE attempts (ok integer, at text)")
        return measures.Subject(
            build=build,
            signal=signal,
            good=lambda: insert(1),
            bad=lambda: insert(0),
            break_target=lambda: build().ask("ALTER TABLE attempts RENAME TO away") and None,
            mend_target=lambda: build().ask("ALTER TABLE away RENAME TO attempts") and None,
        )


def test_the_driver_has_all_its_abilities(emptied_lab: Lab, tmp_path: Path) -> None:
    for driver in (emptied_lab.driver(), FakeDatabase(tmp_path / "db.sqlite", tmp_path)):
        for ability in (Classifies, GivesEvidence, Measures, Observes):
            assert isinstance(driver, ability)


def test_the_lab_is_what_it_says(emptied_lab: Lab) -> None:
    with psycopg.connect(emptied_lab.server.url(emptied_lab.name)) as connection:
        assert connection.info.server_version // 10000 in (15, 18)
