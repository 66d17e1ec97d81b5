"""What a revert takes away is put aside and comes back with its migration, on real servers."""

from __future__ import annotations

import threading

import psycopg
import pytest

from lastgood.domain.errors import Rejected
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until


@pytest.fixture
def shop(emptied_lab: Lab) -> Lab:
    """Three orders."""
    emptied_lab.driver().deploy(ORDERS, KEY)
    emptied_lab.ask("INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 3) n")
    return emptied_lab


def test_columns_and_tables_come_back(shop: Lab) -> None:
    driver = shop.driver()
    before = driver.fingerprint()
    assert driver.deploy(GIFTS, KEY) == {}
    shop.ask("UPDATE orders SET gift = 'ring' WHERE id = 2; INSERT INTO gifts VALUES (7), (8)")
    assert driver.revert(GIFTS, "back") == {"gifts": 2, "orders.gift": 1}
    assert driver.revert(GIFTS, "back") == {"gifts": 2, "orders.gift": 1}
    assert driver.fingerprint() == before
    assert driver.deploy(GIFTS, "again") == {"gifts": 2, "orders.gift": 1}
    assert driver.deploy(GIFTS, "again") == {"gifts": 2, "orders.gift": 1}
    assert shop.ask("SELECT id, gift FROM orders ORDER BY 1") == [(1, None), (2, "ring"), (3, None)]
    assert shop.ask("SELECT id FROM gifts ORDER BY 1") == [(7,), (8,)]
    shop.ask("UPDATE orders SET gift = NULL; DELETE FROM gifts")
    assert driver.revert(GIFTS, "back 2") == {}
    assert driver.deploy(GIFTS, "again 2") == {}


def test_defaults_are_not_kept(shop: Lab) -> None:
    colour = script(
        "0002_colour",
        "ALTER TABLE orders ADD COLUMN colour text NOT NULL DEFAULT 'red', ADD COLUMN ok bool DEFAULT true, "
        "ADD COLUMN tags text[] DEFAULT '{a,b}', ADD COLUMN code char(5) DEFAULT 'x';",
        "SELECT colour FROM orders;",
        "ALTER TABLE orders DROP COLUMN colour, DROP COLUMN ok, DROP COLUMN tags, DROP COLUMN code;",
    )
    driver = shop.driver()
    driver.deploy(colour, KEY)
    assert driver.revert(colour, "1") == {}
    assert shop.ask("SELECT to_regclass('lastgood.kept')::text") == [(None,)]
    driver.deploy(colour, KEY)
    shop.ask("UPDATE orders SET colour = 'blue', ok = false, tags = '{c}', code = 'y' WHERE id = 1")
    assert set(driver.revert(colour, "2").values()) == {1}
    assert set(driver.deploy(colour, "3").values()) == {1}
    assert shop.ask("SELECT colour, ok, tags, code FROM orders ORDER BY id LIMIT 2") == [
        ("blue", False, ["c"], "y    "),
        ("red", True, ["a", "b"], "x    "),
    ]


def test_a_type_that_the_revert_drops(shop: Lab) -> None:
    mood = script(
        "0002_mood",
        "CREATE TYPE mood AS ENUM ('good', 'bad'); ALTER TABLE orders ADD COLUMN mood mood;",
        "SELECT mood FROM orders;",
        "ALTER TABLE orders DROP COLUMN mood; DROP TYPE mood;",
    )
    driver = shop.driver()
    driver.deploy(mood, KEY)
    shop.ask("UPDATE orders SET mood = 'bad' WHERE id = 3")
    assert driver.revert(mood, "1") == {"orders.mood": 1}
    assert driver.deploy(mood, "2") == {"orders.mood": 1}
    assert shop.ask("SELECT mood::text FROM orders WHERE id = 3") == [("bad",)]


def test_a_retyped_column_returns_where_nobody_changed_it_since(shop: Lab) -> None:
    shop.ask("UPDATE orders SET note = '1'")
    number = script(
        "0002_number",
        "ALTER TABLE orders ALTER COLUMN note TYPE numeric USING note::numeric;",
        "SELECT note + 1 FROM orders;",
        "ALTER TABLE orders ALTER COLUMN note TYPE text USING round(note)::text;",
    )
    driver = shop.driver()
    driver.deploy(number, KEY)
    shop.ask("UPDATE orders SET note = 1.25")
    assert driver.revert(number, "1") == {"orders.note": 3}
    shop.ask("UPDATE orders SET note = '5' WHERE id = 1")
    assert driver.deploy(number, "2") == {"orders.note": 2}
    assert [str(n) for (n,) in shop.ask("SELECT note FROM orders ORDER BY id")] == ["5", "1.25", "1.25"]


def test_tables_without_key_identity_and_sequences(shop: Lab) -> None:
    more = script(
        "0002_more",
        "CREATE TABLE log (line text);"
        "CREATE TABLE a_items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, list bigint NOT NULL);"
        "CREATE TABLE lists (id serial PRIMARY KEY, twice int GENERATED ALWAYS AS (1) STORED);"
        "ALTER TABLE a_items ADD FOREIGN KEY (list) REFERENCES lists;",
        "SELECT * FROM log, lists, a_items;",
        "DROP TABLE log, lists, a_items;",
    )
    driver = shop.driver()
    driver.deploy(more, KEY)
    shop.ask(
        "INSERT INTO log VALUES ('x'), ('x'); INSERT INTO lists DEFAULT VALUES; INSERT INTO lists VALUES (5)"
    )
    shop.ask("INSERT INTO a_items (list) VALUES (5), (1)")
    wanted = {"log": 2, "lists": 2, "a_items": 2}
    assert driver.revert(more, "1") == wanted
    assert driver.deploy(more, "2") == wanted
    assert shop.ask("INSERT INTO lists DEFAULT VALUES RETURNING id") == [(6,)]
    assert shop.ask("INSERT INTO a_items (list) VALUES (6) RETURNING id") == [(3,)]


def test_what_the_revert_leaves_in_place_is_not_kept(shop: Lab) -> None:
    driver = shop.driver()
    half = script("0002_gifts", GIFTS.deploy, GIFTS.verify, "DROP TABLE gifts;")
    driver.deploy(half, KEY)
    shop.ask("UPDATE orders SET gift = 'ring'; INSERT INTO gifts VALUES (7)")
    assert driver.revert(half, "1") == {"gifts": 1} == driver.revert(half, "1")
    assert shop.ask("SELECT kept_in FROM lastgood.kept WHERE relation = 'orders'") == []
    assert shop.ask("SELECT DISTINCT gift FROM orders") == [("ring",)]


def test_what_cannot_return_stays_and_the_deploy_succeeds(shop: Lab) -> None:
    driver = shop.driver()
    child = script(
        "0002_child",
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES orders);",
        "SELECT 1;",
        "DROP TABLE child;",
    )
    driver.deploy(child, KEY)
    shop.ask("INSERT INTO child VALUES (1, 1)")
    driver.revert(child, "1")
    shop.ask("DELETE FROM orders")
    assert driver.deploy(child, "2") == {"child": 0}
    (name,) = shop.ask("SELECT kept_in FROM lastgood.kept WHERE returned_at IS NULL")[0]
    assert shop.ask(f"SELECT * FROM lastgood.{name}") == [(1, 1)]


def test_a_revert_that_fails_leaves_nothing_kept(shop: Lab) -> None:
    driver = shop.driver()
    bad = script("0002_gifts", GIFTS.deploy, GIFTS.verify, GIFTS.revert + " DROP TABLE nowhere;")
    driver.deploy(bad, KEY)
    shop.ask("UPDATE orders SET gift = 'ring'")
    with pytest.raises(Rejected):
        driver.revert(bad, "1")
    assert shop.ask("SELECT to_regclass('lastgood.kept')::text") == [(None,)]
    assert shop.ask("SELECT DISTINCT gift FROM orders") == [("ring",)]


def test_a_revision_table_of_before(shop: Lab) -> None:
    driver = shop.driver()
    driver.deploy(GIFTS, KEY)
    shop.ask("ALTER TABLE lastgood.revisions DROP COLUMN added")
    assert len(driver.applied()) == 2
    shop.ask("UPDATE orders SET gift = 'ring'")
    assert driver.revert(GIFTS, "1") == {"orders.gift": 3}
    assert driver.deploy(GIFTS, "2") == {"orders.gift": 3}
    assert shop.ask("SELECT added IS NULL FROM lastgood.revisions ORDER BY seq") == [(True,), (False,)]


def test_a_rehearsal_sees_nothing_of_it(shop: Lab) -> None:
    driver = shop.driver()
    driver.deploy(GIFTS, KEY)
    shop.ask("UPDATE orders SET gift = 'ring'; INSERT INTO gifts VALUES (1)")
    driver.revert(GIFTS, "1")
    seen = driver.rehearse(driver.snapshot("r"), [GIFTS], [ORDERS])
    assert seen.difference == ""
    assert seen.fingerprint_before == seen.fingerprint_after


def test_a_writer_during_the_revert_loses_nothing(shop: Lab) -> None:
    driver = shop.driver(lock_deadline=10)
    driver.deploy(GIFTS, KEY)
    acknowledged: list[int] = []

    def write() -> None:
        with shop.session() as session:
            number = 0
            while True:
                number += 1
                try:
                    session.execute("UPDATE orders SET gift = %s WHERE id = 1", (str(number),))
                except psycopg.errors.UndefinedColumn:
                    return
                acknowledged.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: len(acknowledged) > 50)
    driver.revert(GIFTS, "1")
    writer.join(20)
    assert not writer.is_alive()
    (name,) = shop.ask("SELECT kept_in FROM lastgood.kept")[0]
    assert shop.ask(f"SELECT id, gift FROM lastgood.{name}") == [(1, str(acknowledged[-1]))]
