"""The conformance suite of restores, on real files."""

from __future__ import annotations

import pytest

from lastgood.testing.conformance_restores import RestoresConformance, Subject
from tests.drivers.sqlite.conftest import Lab


class TestSqliteRestores(RestoresConformance):
    @pytest.fixture
    def subject(self, lab: Lab) -> Subject:
        return Subject(lab.driver, lab.ask, lab.databases)
