"""The suites of every ability, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.ports.drivers import Classifies, GivesEvidence, HasConnections, Measures, Observes
from lastgood.testing import conformance_measures as measures
from lastgood.testing.conformance_measures import MeasuresConformance
from lastgood.testing.conformance_migrates import MigratesConformance, RehearsesConformance, Subject
from lastgood.testing.conformance_rehearsals import RehearsesWritesConformance
from lastgood.testing.conformance_snapshots import SnapshotsConformance
from tests.drivers.mariadb.conftest import Lab


class Live:
    @pytest.fixture
    def subject(self, lab: Lab) -> Subject:
        return lab.subject


class TestMigrates(Live, MigratesConformance):
    pass


class TestRehearses(Live, RehearsesConformance):
    pass


class TestRehearsesWrites(Live, RehearsesWritesConformance):
    pass


class TestSnapshots(Live, SnapshotsConformance):
    pass


QUERY = """
SELECT SUM(ok), COUNT(*)  -- not ':since', nor 100%
FROM attempts WHERE at >= :since AND ':since' <> '%'
"""
METER = "meter@127.0.0.1"


class TestMeasures(MeasuresConformance):
    @pytest.fixture
    def subject(self, lab: Lab) -> Iterator[measures.Subject]:
        lab.ask("CREATE TABLE attempts (ok boolean, at datetime(6) DEFAULT CURRENT_TIMESTAMP(6))")
        lab.ask(f"CREATE USER {METER}")
        lab.ask(f"GRANT SELECT ON attempts TO {METER}")

        def break_target() -> None:
            lab.ask(f"ALTER USER {METER} ACCOUNT LOCK")
            lab.ask("KILL USER meter")

        yield measures.Subject(
            build=lambda: lab.driver(url=lab.server.url(lab.name, "meter")),
            signal=Signal("orders", SignalKind.RATIO, "mariadb", {"query": QUERY}),
            good=lambda: _insert(lab, 1),
            bad=lambda: _insert(lab, 0),
            break_target=break_target,
            mend_target=lambda: lab.ask(f"ALTER USER {METER} ACCOUNT UNLOCK") and None,
        )
        lab.ask(f"DROP USER {METER}")


def _insert(lab: Lab, ok: int) -> None:
    lab.ask(f"INSERT INTO attempts (ok) VALUES ({ok})")


def test_the_driver_has_all_its_abilities(lab: Lab) -> None:
    driver = lab.driver()
    for ability in (Classifies, GivesEvidence, HasConnections, Measures, Observes):
        assert isinstance(driver, ability)
