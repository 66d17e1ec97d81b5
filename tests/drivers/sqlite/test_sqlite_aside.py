"""What a revert puts aside: all of it, back in the rows that it came from, and gone when it is to go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lastgood.ports.expiring import KeepsAside
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.sqlite.conftest import Lab


@pytest.fixture
def mode() -> str:
    return "wal"


def test_a_column_that_took_the_place_of_another_one_is_put_aside(lab: Lab) -> None:
    """Only RENAME gives a column another name."""
    lab.script("CREATE TABLE orders (id integer PRIMARY KEY, note text); INSERT INTO orders VALUES (1, 'a')")
    remark = script(
        "0001_remark",
        "ALTER TABLE orders DROP COLUMN note; ALTER TABLE orders ADD COLUMN remark text;",
        "SELECT 1;",
        "ALTER TABLE orders DROP COLUMN remark; ALTER TABLE orders ADD COLUMN note text;",
    )
    driver = lab.driver()
    driver.deploy(remark, KEY)
    lab.ask("UPDATE orders SET remark = 'of a customer'")
    assert driver.revert(remark, "r/1") == {"orders.remark": 1}
    driver.deploy(remark, "r/2")
    assert lab.ask("SELECT remark FROM orders") == [("of a customer",)]


def test_rows_come_back_whichever_table_refers_to_the_other(lab: Lab) -> None:
    music = script(
        "0001_music",
        "CREATE TABLE albums (id integer PRIMARY KEY); "
        "CREATE TABLE songs (id integer PRIMARY KEY, album integer REFERENCES albums (id));"
        "CREATE TABLE covers (id integer PRIMARY KEY, song integer REFERENCES songs (id));",
        "SELECT 1;",
        "DROP TABLE covers; DROP TABLE songs; DROP TABLE albums;",
    )
    driver = lab.driver()
    driver.deploy(music, KEY)
    lab.script(
        "INSERT INTO albums VALUES (1); INSERT INTO songs VALUES (2, 1); INSERT INTO covers VALUES (3, 2)"
    )
    put = {"albums": 1, "covers": 1, "songs": 1}
    assert driver.revert(music, "r/1") == put
    assert driver.deploy(music, "r/2") == put
    assert lab.ask("SELECT * FROM covers JOIN songs ON song = songs.id") == [(3, 2, 2, 1)]


def test_without_a_key_no_value_comes_back_into_another_row(lab: Lab) -> None:
    lab.script("CREATE TABLE guests (who text); INSERT INTO guests VALUES ('a'), ('b'), ('c')")
    gifts = script(
        "0001_gifts",
        "ALTER TABLE guests ADD COLUMN gift text; ALTER TABLE guests ADD COLUMN wrap integer DEFAULT 1;",
        "SELECT 1;",
        "ALTER TABLE guests DROP COLUMN wrap; ALTER TABLE guests DROP COLUMN gift;",
    )
    driver = lab.driver()
    driver.deploy(gifts, KEY)
    lab.script("UPDATE guests SET gift = 'for ' || who, wrap = 0")
    put = {"guests.gift": 3, "guests.wrap": 3}
    assert driver.revert(gifts, "r/1") == put
    assert driver.deploy(gifts, "r/2") == put
    assert lab.ask("SELECT * FROM guests") == [(w, f"for {w}", 0) for w in "abc"]
    lab.ask("DELETE FROM guests WHERE who = 'a'")
    driver.revert(gifts, "r/3")
    lab.ask("VACUUM")
    assert driver.deploy(gifts, "r/4") == {"guests.gift": 0, "guests.wrap": 0}
    assert lab.ask("SELECT * FROM guests") == [("b", None, 1), ("c", None, 1)]


def test_what_lies_aside_is_told_by_age_and_goes(lab: Lab) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    driver = lab.driver()
    assert isinstance(driver, KeepsAside)
    assert driver.kept_aside(later) == ()
    driver.deploy(ORDERS, KEY)
    driver.deploy(GIFTS, KEY)
    lab.script("INSERT INTO orders VALUES (1, 'one', 'a ring for Ada'); INSERT INTO gifts VALUES (7)")
    driver.revert(GIFTS, "r/1")
    table, column = driver.kept_aside(later)
    assert (column.kind.value, column.migration, column.relation, column.column, column.rows) == (
        "kept", GIFTS.name, "orders", "gift", 1,
    )  # fmt: skip
    assert (table.relation, table.column, table.rows, table.returned) == ("gifts", "", 1, False)
    assert driver.kept_aside(later - timedelta(days=2)) == ()
    driver.drop_aside([column])
    driver.drop_aside([column])
    assert driver.kept_aside(later) == (table,)
    lab.ask("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"a ring for Ada" not in lab.path.read_bytes(), "nor in a page that is free"
    assert driver.deploy(GIFTS, "r/2") == {"gifts": 1}
    assert lab.ask("SELECT gift FROM orders") == [(None,)], "it does not come back"
    (returned,) = driver.kept_aside(later)
    assert returned.returned
    driver.drop_aside([returned])
    assert lab.ask("SELECT name FROM sqlite_schema WHERE name LIKE 'lastgood_kept%'") == [("lastgood_kept",)]
    assert lab.ask("SELECT id FROM gifts") == [(7,)]
