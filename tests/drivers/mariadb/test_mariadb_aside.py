"""What a revert takes away is put aside and comes back with its migration, on a real server."""

from __future__ import annotations

import threading
from typing import Any

import pymysql
import pytest

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.plan import Reversibility
from lastgood.ports.rehearsing import Journeys
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.mariadb.conftest import Lab


@pytest.fixture
def shop(lab: Lab) -> Lab:
    """Three orders."""
    lab.driver().deploy(ORDERS, KEY)
    lab.ask("INSERT INTO orders SELECT seq, CONCAT('note ', seq) FROM seq_1_to_3")
    return lab


def stores(lab: Lab) -> list[tuple[Any, ...]]:
    return lab.ask("SELECT relation, `column`, kept_in, `rows`, returned FROM lastgood_kept ORDER BY 1, 2")


def test_columns_and_tables_come_back(shop: Lab) -> None:
    driver = shop.driver()
    before = driver.fingerprint()
    assert driver.deploy(GIFTS, KEY) == {}
    shop.ask("UPDATE orders SET gift = 'ring' WHERE id = 2")
    shop.ask("INSERT INTO gifts VALUES (7), (8)")
    assert driver.revert(GIFTS, "back") == {"gifts": 2, "orders.gift": 1}
    assert driver.revert(GIFTS, "back") == {"gifts": 2, "orders.gift": 1}
    assert driver.fingerprint() == before
    assert driver.deploy(GIFTS, "again") == {"gifts": 2, "orders.gift": 1}
    assert driver.deploy(GIFTS, "again") == {"gifts": 2, "orders.gift": 1}
    assert shop.ask("SELECT id, gift FROM orders ORDER BY 1") == [(1, None), (2, "ring"), (3, None)]
    assert shop.ask("SELECT id FROM gifts ORDER BY 1") == [(7,), (8,)]
    shop.ask("UPDATE orders SET gift = NULL")
    shop.ask("DELETE FROM gifts")
    assert driver.revert(GIFTS, "back 2") == {}
    assert driver.deploy(GIFTS, "again 2") == {}
    assert len(stores(shop)) == 2


def test_defaults_are_not_kept_and_case_is_told_apart(shop: Lab) -> None:
    colour = script(
        "0002_colour",
        "ALTER TABLE orders ADD COLUMN colour varchar(9) NOT NULL DEFAULT 'red', "
        "ADD COLUMN ok bool DEFAULT 1, "
        "ADD COLUMN price decimal(8, 2) DEFAULT 1.50, ADD COLUMN b varbinary(9) DEFAULT NULL;",
        "SELECT colour FROM orders;",
        "ALTER TABLE orders DROP COLUMN colour, DROP COLUMN ok, DROP COLUMN price, DROP COLUMN b;",
    )
    driver = shop.driver()
    driver.deploy(colour, KEY)
    assert driver.revert(colour, "1") == {}
    driver.deploy(colour, KEY)
    shop.ask("UPDATE orders SET colour = 'RED', ok = false, price = 2, b = x'ff00' WHERE id = 1")
    assert set(driver.revert(colour, "2").values()) == {1}
    assert set(driver.deploy(colour, "3").values()) == {1}
    assert shop.ask("SELECT colour, ok, price, b FROM orders ORDER BY id LIMIT 2") == [
        ("RED", 0, 2, b"\xff\x00"),
        ("red", 1, 1.5, None),
    ]


def test_a_retyped_column_returns_where_nobody_changed_it_since(shop: Lab) -> None:
    longer = script(
        "0002_longer",
        "ALTER TABLE orders MODIFY note varchar(200), ADD COLUMN price decimal(5, 0) DEFAULT 0;"
        "ALTER TABLE orders MODIFY price decimal(9, 3) DEFAULT 0;",
        "SELECT note FROM orders;",
        "UPDATE orders SET note = LEFT(note, 10);"
        "ALTER TABLE orders MODIFY note varchar(10), DROP COLUMN price;",
    )
    shop.ask("DROP INDEX orders_by_note ON orders")
    shop.ask("ALTER TABLE orders MODIFY note varchar(10)")
    driver = shop.driver()
    driver.deploy(longer, KEY)
    shop.ask("UPDATE orders SET note = CONCAT('a long note, number ', id) WHERE id < 3")
    shop.ask("UPDATE orders SET price = 1.125 WHERE id = 2")
    assert driver.revert(longer, "1") == {"orders.note": 2, "orders.price": 1}
    assert shop.ask("SELECT note FROM orders ORDER BY id") == [("a long not",), ("a long not",), ("note 3",)]
    shop.ask("UPDATE orders SET note = 'x' WHERE id = 1")
    assert driver.deploy(longer, "2") == {"orders.note": 1, "orders.price": 1}
    assert shop.ask("SELECT note, price FROM orders ORDER BY id") == [
        ("x", 0),
        ("a long note, number 2", 1.125),
        ("note 3", 0),
    ]


def test_tables_without_key_generated_columns_and_numbers(shop: Lab) -> None:
    more = script(
        "0002_more",
        "CREATE TABLE log (line text);"
        "CREATE TABLE lists (id int AUTO_INCREMENT PRIMARY KEY, name varchar(9),"
        "  twice int AS (LENGTH(name)) STORED);"
        "CREATE TABLE a_items (id int AUTO_INCREMENT PRIMARY KEY, list int NOT NULL, "
        "  FOREIGN KEY (list) REFERENCES lists (id));"
        "CREATE SEQUENCE tickets;",
        "SELECT * FROM log, lists, a_items;",
        "DROP TABLE a_items; DROP TABLE log, lists; DROP SEQUENCE tickets;",
    )
    driver = shop.driver()
    driver.deploy(more, KEY)
    shop.ask("INSERT INTO log VALUES ('x'), ('x')")
    shop.ask("INSERT INTO lists (id, name) VALUES (1, 'a'), (5, 'b')")
    shop.ask("INSERT INTO a_items (list) VALUES (5), (1)")
    wanted = {"log": 2, "lists": 2, "a_items": 2}
    assert driver.revert(more, "1") == wanted
    assert driver.deploy(more, "2") == wanted
    shop.ask("INSERT INTO lists (name) VALUES ('c')")
    assert shop.ask("SELECT id, twice FROM lists ORDER BY id") == [(1, 1), (5, 1), (6, 1)]


def test_what_revert_sql_moves_and_renames_first_is_kept_as_it_was(shop: Lab) -> None:
    moved = script(
        "0002_gifts",
        GIFTS.deploy,
        GIFTS.verify,
        "UPDATE orders SET note = gift, gift = NULL WHERE gift IS NOT NULL; DELETE FROM gifts;"
        "RENAME TABLE gifts TO presents; ALTER TABLE orders RENAME COLUMN gift TO present;"
        "ALTER TABLE orders DROP COLUMN present; DROP TABLE presents;",
    )
    driver = shop.driver()
    driver.deploy(moved, KEY)
    shop.ask("UPDATE orders SET gift = 'ring' WHERE id = 2")
    shop.ask("INSERT INTO gifts VALUES (7)")
    assert driver.revert(moved, "1") == {"gifts": 1, "orders.gift": 1}
    assert driver.deploy(moved, "2") == {"gifts": 1, "orders.gift": 1}
    assert shop.ask("SELECT note, gift FROM orders WHERE id = 2") == [("ring", "ring")]


def test_other_tables_and_views_of_a_kept_one_are_in_nobody_s_way(shop: Lab) -> None:
    shop.ask("CREATE TABLE lines_ (id int PRIMARY KEY, parent int, gift int)")
    around = script(
        "0002_gifts",
        GIFTS.deploy + "CREATE VIEW given AS SELECT gift FROM orders;"
        "ALTER TABLE gifts ADD COLUMN line int, ADD FOREIGN KEY (line) REFERENCES lines_ (id);",
        GIFTS.verify,
        "ALTER TABLE lines_ ADD FOREIGN KEY (gift) REFERENCES gifts (id); CREATE OR REPLACE TABLE other "
        "(id int PRIMARY KEY, o int, FOREIGN KEY (o) REFERENCES orders (id)); DROP TABLE other;"
        "ALTER TABLE lines_ DROP FOREIGN KEY lines__ibfk_1, DROP KEY gift; DROP VIEW given;"
        "ALTER TABLE IF EXISTS `gifts` DROP FOREIGN KEY gifts_ibfk_1;" + GIFTS.revert,
    )
    driver = shop.driver()
    before = driver.fingerprint()
    driver.deploy(around, KEY)
    shop.ask("UPDATE orders SET gift = 'ring' WHERE id = 2")
    shop.ask("INSERT INTO gifts VALUES (7, NULL)")
    assert driver.revert(around, "1") == {"gifts": 1, "orders.gift": 1}
    assert driver.fingerprint() == before
    assert driver.deploy(around, "2") == {"gifts": 1, "orders.gift": 1}


def test_what_the_revert_leaves_in_place_is_not_kept(shop: Lab) -> None:
    driver = shop.driver()
    half = script("0002_gifts", GIFTS.deploy, GIFTS.verify, "DROP TABLE gifts;")
    driver.deploy(half, KEY)
    shop.ask("UPDATE orders SET gift = 'ring'")
    shop.ask("INSERT INTO gifts VALUES (7)")
    assert driver.revert(half, "1") == {"gifts": 1} == driver.revert(half, "1")
    ((relation, column, name, _, _),) = stores(shop)
    assert (relation, column) == ("gifts", "")
    assert shop.ask("SHOW TABLES LIKE 'lastgood\\_kept\\_%'") == [(name,)]
    assert shop.ask("SELECT DISTINCT gift FROM orders") == [("ring",)]


def test_what_cannot_return_stays_and_the_deploy_succeeds(shop: Lab) -> None:
    driver = shop.driver()
    child = script(
        "0002_child",
        "CREATE TABLE child (id int PRIMARY KEY, parent int, FOREIGN KEY (parent) REFERENCES orders (id));",
        "SELECT 1;",
        "DROP TABLE child;",
    )
    driver.deploy(child, KEY)
    shop.ask("INSERT INTO child VALUES (1, 1)")
    driver.revert(child, "1")
    shop.ask("DELETE FROM orders")
    assert driver.deploy(child, "2") == {"child": 0}
    ((_, _, name, _, returned),) = stores(shop)
    assert returned is None
    assert shop.ask(f"SELECT id, parent FROM {name}") == [(1, 1)]


def test_a_revert_that_fails_half_way_gives_everything_back(shop: Lab) -> None:
    driver = shop.driver()
    bad = script(
        "0002_gifts",
        GIFTS.deploy + "CREATE TRIGGER seen BEFORE INSERT ON gifts FOR EACH ROW SET NEW.id = NEW.id + 0;",
        GIFTS.verify,
        GIFTS.revert + " DROP TABLE nowhere;",
    )
    driver.deploy(bad, KEY)
    before = driver.fingerprint()
    shop.ask("UPDATE orders SET gift = 'ring' WHERE id = 1")
    shop.ask("INSERT INTO gifts VALUES (7)")
    with pytest.raises(Rejected) as caught:
        driver.revert(bad, "1")
    assert "stands" not in str(caught.value)
    assert driver.fingerprint() == before
    assert shop.ask("SELECT gift FROM orders ORDER BY id") == [("ring",), (None,), (None,)]
    assert shop.ask("SELECT id FROM gifts") == [(7,)]
    assert shop.ask("SELECT * FROM lastgood_progress") == []


def test_a_revision_table_of_before(shop: Lab) -> None:
    driver = shop.driver()
    driver.deploy(GIFTS, KEY)
    shop.ask("ALTER TABLE lastgood_revisions DROP COLUMN added")
    assert len(driver.applied()) == 2
    shop.ask("UPDATE orders SET gift = 'ring'")
    shop.ask("INSERT INTO gifts VALUES (7)")
    assert driver.revert(GIFTS, "1") == {"gifts": 1, "orders.gift": 3}
    assert driver.deploy(GIFTS, "2") == {"gifts": 1, "orders.gift": 3}
    assert shop.ask("SELECT added IS NULL FROM lastgood_revisions ORDER BY seq") == [(1,), (0,)]


def test_a_rehearsal_and_a_snapshot_see_nothing_of_it(shop: Lab) -> None:
    driver = shop.driver()
    driver.deploy(GIFTS, KEY)
    shop.ask("UPDATE orders SET gift = 'ring'")
    shop.ask("INSERT INTO gifts VALUES (1)")
    driver.revert(GIFTS, "1")
    taken = driver.snapshot("r")
    assert driver.prove(taken).fingerprint == driver.fingerprint()
    seen = driver.rehearse(taken, [GIFTS], [ORDERS])
    assert seen.difference == ""
    assert seen.fingerprint_before == seen.fingerprint_after


def test_a_writer_during_the_revert_loses_nothing(shop: Lab) -> None:
    driver = shop.driver(lock_deadline=10)
    driver.deploy(GIFTS, KEY)
    acknowledged: list[int] = []
    over = threading.Event()

    def write() -> None:
        session = shop.session()
        number = 0
        while not over.is_set():
            number += 1
            try:
                with session.cursor() as cursor:
                    cursor.execute("UPDATE orders SET gift = %s WHERE id = 1", (str(number),))
            except pymysql.err.OperationalError:
                break
            acknowledged.append(number)
        session.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(acknowledged) < 50:
            assert writer.is_alive()
        driver.revert(GIFTS, "1")
        writer.join(20)
    finally:
        over.set()
        writer.join()
    ((_, _, name, rows, _),) = stores(shop)
    assert rows == 1
    assert shop.ask(f"SELECT id, gift FROM {name}") == [(1, str(acknowledged[-1]))]


LAST = "after the last wave"


def test_what_comes_after_the_last_wave_is_deployed_and_taken_back(lab: Lab) -> None:
    driver = lab.driver()
    driver.deploy(ORDERS, KEY)
    last = script("0002_last", f"-- lastgood: {LAST}\n{GIFTS.deploy}", GIFTS.verify, GIFTS.revert)
    assert driver.classify(last).reversibility is Reversibility.EXACT
    driver.deploy(last, KEY)
    driver.revert(last, KEY)
    assert [name for name, _ in driver.applied()] == [ORDERS.name]


@pytest.mark.parametrize("part", ["deploy", "revert", "verify"])
@pytest.mark.parametrize("mark", ["no transaction", "undo rows", "undo row", LAST])
def test_a_mark_that_is_not_honoured_is_refused_by_name(lab: Lab, part: str, mark: str) -> None:
    if (part, mark) in (("revert", "undo rows"), ("deploy", LAST)):
        return
    texts = {"deploy": ORDERS.deploy, "verify": ORDERS.verify, "revert": ORDERS.revert}
    texts[part] = f"-- lastgood: {mark}\n{texts[part]}"
    marked = script("0001_marked", *texts.values())
    driver = lab.driver()
    if part != "verify":
        seen = driver.classify(marked)
        assert seen.reversibility is Reversibility.FORWARD_ONLY
        assert f"'{mark}'" in seen.reason
    driver.deploy(ORDERS, KEY)
    act = driver.revert if part == "revert" else driver.deploy
    with pytest.raises(InvalidInput, match=f"'{mark}'"):
        act(marked, KEY)
    assert [name for name, _ in driver.applied()] == [ORDERS.name]


def test_without_the_right_to_lock_nothing_is_deployed(lab: Lab) -> None:
    user = "unlocked@127.0.0.1"
    lab.ask(f"CREATE OR REPLACE USER {user}")
    lab.ask(f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX ON {lab.name}.* TO {user}")
    try:
        driver = lab.driver(url=lab.server.url(lab.name, "unlocked"))
        with pytest.raises(Rejected) as caught:
            driver.deploy(ORDERS, KEY)
        assert caught.value.cause is Cause.PERMISSION
        assert f"LOCK TABLES on `{lab.name}`.*" in str(caught.value.todo)
        assert driver.applied() == ()
    finally:
        lab.ask(f"DROP USER {user}")


def test_a_server_that_logs_statements_takes_it_aside(shop: Lab) -> None:
    driver = shop.driver(rehearse_whole=0)
    driver.deploy(GIFTS, KEY)
    shop.ask("UPDATE orders SET gift = 'ring' WHERE id = 2")
    ((usual,),) = shop.ask("SELECT @@GLOBAL.binlog_format")
    shop.ask("SET GLOBAL binlog_format = STATEMENT")
    try:
        assert driver.revert(GIFTS, "back") == {"orders.gift": 1}
        assert driver.sample_rows()
        assert driver.rehearse_writes(None, [GIFTS], [], Journeys()).difference == ""
    finally:
        shop.ask(f"SET GLOBAL binlog_format = {usual}")
    assert driver.deploy(GIFTS, "again") == {"orders.gift": 1}


def test_a_row_with_the_number_0_comes_back_as_that_row(shop: Lab) -> None:
    users = script(
        "0002_users",
        "CREATE TABLE users (id int AUTO_INCREMENT PRIMARY KEY, name varchar(9));",
        "SELECT id FROM users;",
        "DROP TABLE users; {0};",
    )
    fails = script(users.name, users.deploy, users.verify, users.revert.format("DROP TABLE nowhere"))
    works = script(users.name, users.deploy, users.verify, users.revert.format("SELECT 1"))
    people = "SELECT id, name FROM users ORDER BY id"
    numbered = [(0, "nobody"), (1, "Ada"), (2, "Bob")]
    driver = shop.driver()
    for revert in (fails, works):
        driver.deploy(revert, KEY)
        session = shop.session(init_command="SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
        with session.cursor() as cursor:
            cursor.executemany("REPLACE INTO users VALUES (%s, %s)", numbered)
        session.close()
        if revert is fails:
            with pytest.raises(Rejected):
                driver.revert(revert, "fails")
            assert shop.ask(people) == numbered, "filled again"
            shop.ask("DROP TABLE users")
            shop.ask("DELETE FROM lastgood_revisions WHERE name = '0002_users'")
    assert driver.revert(works, "back") == {"users": 3}
    assert driver.deploy(works, "again") == {"users": 3}
    assert shop.ask(people) == numbered


def test_drop_tables_is_drop_table(shop: Lab) -> None:
    logs = script(
        "0002_logs",
        "CREATE TABLE log (line text); CREATE TABLE seen (id int PRIMARY KEY);",
        "SELECT line FROM log;",
        "DROP /* both */ TABLES log, seen;",
    )
    driver = shop.driver()
    driver.deploy(logs, KEY)
    shop.ask("INSERT INTO log VALUES ('of a customer')")
    assert driver.revert(logs, "back") == {"log": 1}
    assert driver.deploy(logs, "again") == {"log": 1}
    assert shop.ask("SELECT line FROM log") == [("of a customer",)]
