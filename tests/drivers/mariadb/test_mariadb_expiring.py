"""Values that lie aside in the database are told by age, and go."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.drivers.mariadb import revisions
from lastgood.ports.expiring import KeepsAside
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.mariadb.conftest import Lab

LATER = datetime.now(UTC) + timedelta(days=1)
CALL = script("0003_call", "UPDATE orders SET note = 'called';", "SELECT 1;", "-- lastgood: undo rows\n")


@pytest.fixture
def shop(lab: Lab) -> Lab:
    lab.driver().deploy(ORDERS, KEY)
    lab.ask("INSERT INTO orders VALUES (1, 'one'), (2, 'two')")
    return lab


def ours(lab: Lab) -> list[str]:
    found = [str(name) for (name,) in lab.ask("SHOW TABLES LIKE 'lastgood%'")]
    return [name for name in found if name.startswith("lastgood_kept_") or lab.ask(f"SELECT 1 FROM {name}")]


def test_what_lies_aside_is_told_by_age_and_goes(shop: Lab) -> None:
    driver = shop.driver()
    assert isinstance(driver, KeepsAside)
    assert driver.kept_aside(LATER) == ()
    driver.deploy(GIFTS, KEY)
    shop.ask("UPDATE orders SET gift = 'ring' WHERE id = 1")
    driver.revert(GIFTS, KEY)
    driver.deploy(CALL, KEY)
    kept, undo = driver.kept_aside(LATER)
    assert (kept.kind.value, kept.migration, kept.relation, kept.column, kept.rows) == (
        "kept", GIFTS.name, "orders", "gift", 1,
    )  # fmt: skip
    assert (undo.kind.value, undo.migration, undo.rows) == ("undo", CALL.name, 2)
    assert not kept.returned
    assert driver.kept_aside(LATER - timedelta(days=2)) == ()
    shop.ask("UPDATE orders SET note = 'mine' WHERE id = 2")
    driver.revert(CALL, KEY)
    (_, conflicts) = driver.kept_aside(LATER)
    assert (conflicts.kind.value, conflicts.rows) == ("conflicts", 1)
    # What is asked to go is gone, what was not is there, and once more is no error.
    driver.drop_aside([kept])
    driver.drop_aside([kept])
    assert driver.kept_aside(LATER) == (conflicts,)
    driver.deploy(GIFTS, KEY)
    assert shop.ask("SELECT COUNT(gift) FROM orders") == [(0,)], "it does not come back"
    driver.drop_aside([conflicts])
    assert driver.kept_aside(LATER) == ()
    assert ours(shop) == ["lastgood_revisions", "lastgood_undo_runs"]


def test_without_its_record_a_migration_is_not_undone_by_half(shop: Lab) -> None:
    driver = shop.driver()
    driver.deploy(CALL, KEY)
    driver.drop_aside(driver.kept_aside(LATER))
    with pytest.raises(Rejected, match="nothing was recorded"):
        driver.revert(CALL, KEY)
    assert shop.ask("SELECT DISTINCT note FROM orders") == [("called",)]
    assert [name for name, _ in driver.applied()] == [ORDERS.name, CALL.name]


def test_nothing_goes_beside_a_migration(shop: Lab) -> None:
    driver = shop.driver()
    driver.deploy(CALL, KEY)
    found = driver.kept_aside(LATER)
    with contextlib.closing(shop.session()) as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK(%s, 1)", (revisions.lock_name(shop.name),))
        with pytest.raises(Rejected, match="held by another session") as refused:
            driver.drop_aside(found)
    assert refused.value.cause is Cause.TABLE_LOCK
    assert driver.kept_aside(LATER) == found
