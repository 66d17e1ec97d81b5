"""Values that lie aside in the database are told by age, and go; copies stay where they may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.postgresql.conftest import Lab

LATER = datetime.now(UTC) + timedelta(days=1)
CALL = script("0003_call", "UPDATE orders SET note = 'called';", "SELECT 1;", "-- lastgood: undo rows\n")


@pytest.fixture
def shop(emptied_lab: Lab) -> Lab:
    emptied_lab.driver().deploy(ORDERS, KEY)
    emptied_lab.ask("INSERT INTO orders VALUES (1, 'one'), (2, 'two')")
    return emptied_lab


def ours(lab: Lab) -> list[str]:
    found = lab.ask(
        "SELECT relname FROM pg_class WHERE relnamespace = 'lastgood'::regnamespace AND relkind = 'r'"
    )
    return sorted(str(row[0]) for row in found)


def test_what_lies_aside_is_told_by_age_and_goes(shop: Lab) -> None:
    driver = shop.driver()
    assert driver.kept_aside(LATER) == ()
    driver.deploy(GIFTS, KEY)
    shop.ask("UPDATE orders SET gift = 'ring' WHERE id = 1")
    driver.revert(GIFTS, KEY)
    driver.deploy(CALL, KEY)
    kept, undo = driver.kept_aside(LATER)
    assert (kept.kind.value, kept.migration, kept.relation, kept.column, kept.rows) == (
        "kept", GIFTS.name, "public.orders", "gift", 1,
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
    assert shop.ask("SELECT count(gift) FROM orders") == [(0,)], "it does not come back"
    driver.drop_aside([conflicts])
    assert driver.kept_aside(LATER) == ()
    assert [name for name in ours(shop) if name.startswith(("kept_", "undo_1"))] == []


def test_without_its_record_a_migration_is_not_undone_by_half(shop: Lab) -> None:
    driver = shop.driver()
    driver.deploy(CALL, KEY)
    driver.drop_aside(driver.kept_aside(LATER))
    with pytest.raises(Rejected, match="nothing was recorded"):
        driver.revert(CALL, KEY)
    assert shop.ask("SELECT DISTINCT note FROM orders") == [("called",)]
    assert [name for name, _ in driver.applied()] == [ORDERS.name, CALL.name]


def test_copies_stay_in_the_place_that_the_resource_declares(shop: Lab, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no absolute path"):
        shop.driver(resident="here")
    with pytest.raises(InvalidInput, match="no number of days"):
        shop.driver(keep_days="30")
    place = tmp_path / "eu"
    driver = shop.driver(resident=str(place), keep_days=30)
    with pytest.raises(Rejected, match="is not there"):
        driver.snapshot("one")
    assert not place.exists(), "a disk that is not mounted is not replaced by a directory"
    place.mkdir()
    taken = driver.snapshot("one")
    assert Path(taken.path).is_relative_to(place)
    assert driver.prove(taken).proven_at is not None
    assert driver.bundle_database(taken, [], []).resident == place
    assert not (shop.tools.directory / "snapshots").exists()
    away = tmp_path / "us"
    away.mkdir()
    (place / "lastgood-snapshots").rename(away / "lastgood-snapshots")
    (place / "lastgood-snapshots").symlink_to(away / "lastgood-snapshots")
    with pytest.raises(Rejected, match="leads out of"):
        driver.snapshot("two")
