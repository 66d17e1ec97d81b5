"""The suites of every ability, on a real server."""

from __future__ import annotations

import pytest

from lastgood.testing.conformance_migrates import MigratesConformance, Subject
from tests.drivers.mariadb.conftest import Lab


class Live:
    @pytest.fixture
    def subject(self, lab: Lab) -> Subject:
        return lab.subject


class TestMigrates(Live, MigratesConformance):
    pass
