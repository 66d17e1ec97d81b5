"""The suites of every ability, on real files."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.ports.drivers import Classifies, GivesEvidence, Observes
from lastgood.ports.reviewing import Reviews
from lastgood.testing import conformance_measures as measures
from lastgood.testing.conformance_measures import MeasuresConformance
from lastgood.testing.conformance_migrates import MigratesConformance, RehearsesConformance, Subject
from lastgood.testing.conformance_rehearsals import RehearsesWritesConformance
from lastgood.testing.conformance_snapshots import SnapshotsConformance
from tests.drivers.sqlite.conftest import Lab


class Live:
    @pytest.fixture
    def subject(self, lab: Lab) -> Subject:
        return lab.subject


class InOneMode:
    """What the two modes do alike."""

    @pytest.fixture
    def mode(self) -> str:
        return "wal"


class TestMigrates(Live, MigratesConformance):
    @pytest.fixture
    def mode(self) -> str:
        return "delete"


class TestRehearses(Live, InOneMode, RehearsesConformance):
    pass


class TestRehearsesWrites(Live, InOneMode, RehearsesWritesConformance):
    pass


class TestSnapshots(Live, SnapshotsConformance):
    pass


QUERY = "SELECT SUM(ok), COUNT(*)  -- not ':since', nor 100%\nFROM attempts WHERE at >= :since AND '%' <> ''"


class TestMeasures(InOneMode, MeasuresConformance):
    @pytest.fixture
    def subject(self, lab: Lab) -> measures.Subject:
        lab.ask("CREATE TABLE attempts (ok boolean, at text)")
        away = lab.path.with_name("away.db")

        def event(ok: int) -> None:
            lab.ask(f"INSERT INTO attempts VALUES ({ok}, '{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}')")

        return measures.Subject(
            build=lab.driver,
            signal=Signal("orders", SignalKind.RATIO, "sqlite", {"query": QUERY}),
            good=lambda: event(1),
            bad=lambda: event(0),
            break_target=lambda: lab.path.rename(away) and None,
            mend_target=lambda: away.rename(lab.path) and None,
        )


def test_the_driver_has_all_its_abilities(lab: Lab) -> None:
    driver = lab.driver()
    for ability in (Classifies, GivesEvidence, Observes, Reviews):
        assert isinstance(driver, ability)
