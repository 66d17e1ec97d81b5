"""How many more connections a server takes for one user, on the real servers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from lastgood.ports.drivers import HasConnections
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until


@pytest.fixture
def shopkeeper(lab: Lab) -> Iterator[str]:
    """A user without rights of its own, who may have 5 connections."""
    lab.ask(f"CREATE ROLE {lab.name}_user LOGIN CONNECTION LIMIT 5")
    yield f"{lab.name}_user"
    lab.ask(f"DROP ROLE {lab.name}_user")


def number(lab: Lab, query: str) -> int:
    ((found,),) = lab.ask(query)
    return int(str(found))


def test_it_is_what_the_server_takes_less_what_is_reserved_and_used(lab: Lab) -> None:
    driver = lab.driver()
    assert isinstance(driver, HasConnections)
    total = number(lab, "SHOW max_connections") - number(lab, "SHOW superuser_reserved_connections")
    until(lambda: driver.free_connections() == total)
    with contextlib.ExitStack() as open_sessions:
        for _ in range(3):
            open_sessions.enter_context(lab.session())
        assert driver.free_connections() == total - 3
    until(lambda: driver.free_connections() == total)


def test_the_limit_of_the_user_counts_only_its_own(lab: Lab, shopkeeper: str) -> None:
    driver = lab.driver(url=lab.server.url(lab.name, shopkeeper))
    with lab.session(), lab.session(user=shopkeeper), lab.session(user=shopkeeper):
        assert driver.free_connections() == 3


def test_the_limit_of_the_database_counts_everybodys_in_it(lab: Lab, shopkeeper: str) -> None:
    lab.ask(f"ALTER DATABASE {lab.name} CONNECTION LIMIT 4")
    driver = lab.driver(url=lab.server.url(lab.name, shopkeeper))
    with lab.session(), lab.session(user=shopkeeper), lab.session(name="postgres"):
        assert driver.free_connections() == 2
        assert lab.driver().free_connections() > 5, "a superuser is not bound by it"
