"""What is said of a server that is not the one on which the driver was tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.domain.errors import Rejected
from lastgood.drivers.mariadb.versions import of_version
from lastgood.ports.cautioning import Cautions
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS
from lastgood.testing.mariadb_server import mariadb
from tests.drivers.mariadb.conftest import Lab, Tools


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("10.11.14-MariaDB-0+deb12u2-log", ""),
        ("5.5.5-10.11.14-MariaDB", ""),
        ("11.8.2-MariaDB", ""),
        ("10.5.29-MariaDB", "older than MariaDB 10.6"),
        ("8.0.36", "is not MariaDB (8.0.36)"),
        ("8.4.3-commercial", "is not MariaDB (8.4.3-commercial)"),
    ],
    ids=["tested", "prefixed", "newer", "older", "mysql", "commercial"],
)
def test_what_a_version_tells(version: str, said: str) -> None:
    found = of_version(version, "db:3306/shop")
    assert said in str(found or "")
    assert (found is None) == (said == "")


def test_a_server_that_calls_itself_otherwise_is_told_of_and_not_restored(tmp_path: Path) -> None:
    """It is MariaDB all the same: what another one does can't be tried here."""
    with mariadb(tmp_path / "server", settings={"version": "8.0.36"}) as server:
        lab = Lab(server, "shop", Tools(tmp_path))
        lab.ask("CREATE DATABASE shop", "")
        driver = lab.driver()
        assert isinstance(driver, Cautions)
        assert "is not MariaDB (8.0.36)" in str(driver.caution())
        driver.deploy(ORDERS, KEY)
        driver.deploy(GIFTS, KEY)
        driver.revert(GIFTS, KEY)
        assert "is not MariaDB" in str(driver.capture_obstacle())
        with pytest.raises(Rejected, match="is not MariaDB"):
            driver.capture("one")


def test_the_usual_server_is_no_news(lab: Lab) -> None:
    assert lab.driver().caution() is None
