"""The conformance suite of restores, on a real MariaDB."""

from __future__ import annotations

import pytest

from lastgood.testing.conformance_restores import RestoresConformance, Subject
from tests.drivers.mariadb.conftest import Lab


class TestMariadbRestores(RestoresConformance):
    @pytest.fixture
    def subject(self, lab: Lab) -> Subject:
        return Subject(lab.driver, lab.ask, lab.databases)
