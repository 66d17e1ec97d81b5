"""What becomes of rows that a migration and the shop both wrote."""

from __future__ import annotations

from typing import Any

import pytest

from lastgood.sql.conflicts import APART, BOTH, DELETED, INSERTED, NO_COLUMN, NO_TABLE, ROUNDED
from tests.drivers.mariadb.conftest import Lab
from tests.drivers.mariadb.day import RESTORE, Day


@pytest.fixture
def day(lab: Lab) -> Day:
    return Day.begin(lab)


def row(day: Day, question: str) -> Any:
    return day.lab.ask(question)[0]


def test_another_column_of_the_same_row_is_merged(day: Day) -> None:
    day.migrate("UPDATE products SET price = 0; UPDATE orders SET note = NULL WHERE id < 5;")
    day.lab.ask("UPDATE products SET stock = stock - 1 WHERE id IN (1, 2)")
    day.lab.ask("UPDATE orders SET paid = true WHERE id = 1")
    swapped = day.go_back()
    assert day.lab.ask("SELECT id, price, stock FROM products WHERE id < 4") == [
        (1, 10, 99),
        (2, 20, 99),
        (3, 30, 100),
    ]
    assert row(day, "SELECT note, shout, paid FROM orders WHERE id = 1") == ("note 1", "NOTE 1", 1)
    assert swapped.salvage.conflicts == {}
    assert swapped.salvage.carried == {"products": 2, "orders": 1}


def test_the_same_column_is_a_conflict_until_somebody_settles_it(day: Day) -> None:
    day.migrate("UPDATE products SET price = 0;")
    day.lab.ask("UPDATE products SET price = 5 WHERE id < 3")
    day.lab.ask("UPDATE products SET price = 6 WHERE id = 1")
    day.lab.ask("UPDATE products SET price = 20 WHERE id = 2")
    swapped = day.go_back()
    assert day.conflicts() == [("products", '["1"]', "price", "10.00", "0.00", "6.00")]
    assert day.reasons() == [("products", '["1"]', "price", BOTH)]
    assert swapped.salvage.conflicts == {"products": 1}
    assert day.lab.ask("SELECT price FROM products WHERE id < 3") == [(10,), (20,)]


def test_rows_that_only_one_of_them_has(day: Day) -> None:
    day.migrate(
        "DELETE FROM items WHERE order_id = 1; DELETE FROM items WHERE order_id = 2;"
        "INSERT INTO products VALUES (99, 'new', 1, 1), (98, 'new', 1, 1);"
    )
    day.lab.ask("INSERT INTO items VALUES (1, 2, 7)")
    day.lab.ask("UPDATE products SET stock = 0 WHERE id = 99")
    day.lab.ask("DELETE FROM products WHERE id = 98")
    day.lab.ask("INSERT INTO products VALUES (98, 'ours', 9, 9)")
    day.go_back()
    assert [r[:3] + r[3:] for r in day.reasons()] == [
        ("items", '["1", "2"]', "", DELETED),
        ("products", '["99"]', "", INSERTED),
    ]
    assert day.lab.ask("SELECT count FROM items WHERE order_id < 3") == [(2,), (2,)]
    assert day.lab.ask("SELECT id, name FROM products WHERE id > 10") == [(98, "ours")]


def test_rows_are_found_whose_keys_the_migration_changed(day: Day) -> None:
    day.migrate(
        "ALTER TABLE items DROP FOREIGN KEY items_ibfk_2;"
        "UPDATE products SET id = id + 1000; UPDATE products SET id = id + 1000 WHERE id = 1003;"
    )
    day.lab.ask("UPDATE products SET stock = 7 WHERE id = 1001")
    day.lab.ask("UPDATE products SET stock = 8 WHERE id = 2003")
    day.lab.ask("DELETE FROM items WHERE product = 10")
    day.lab.ask("DELETE FROM products WHERE id = 1010")
    day.lab.ask("INSERT INTO products VALUES (1010, 'again', 1, 1)")
    day.go_back()
    assert day.lab.ask("SELECT id, stock FROM products WHERE stock <> 100") == [(1, 7), (3, 8), (1010, 1)]
    assert day.lab.ask("SELECT id FROM products WHERE id = 10") == []
    assert day.conflicts() == []


def test_a_cascade_that_is_not_in_the_log(day: Day) -> None:
    day.migrate("UPDATE products SET price = 0;")
    day.lab.ask("INSERT INTO orders (id, customer) VALUES (50, 'x'), (51, 'y')")
    day.lab.ask("INSERT INTO items VALUES (50, 1, 1), (51, 1, 1)")
    day.lab.ask("DELETE FROM orders WHERE id IN (1, 50)")
    day.go_back()
    assert day.lab.ask("SELECT order_id FROM items WHERE order_id IN (1, 50, 51)") == [(51,)]
    assert day.conflicts() == []


def test_what_the_old_shape_has_no_place_for_is_listed(day: Day) -> None:
    day.migrate(
        "ALTER TABLE orders ADD COLUMN gift varchar(20) NOT NULL DEFAULT 'no', MODIFY note text;"
        "ALTER TABLE products MODIFY price decimal(12, 4);"
        "CREATE TABLE coupons (id int PRIMARY KEY, code varchar(10));"
    )
    day.lab.ask("INSERT INTO coupons VALUES (1, 'a'), (2, 'b')")
    day.lab.ask("DELETE FROM coupons WHERE id = 2")
    day.lab.ask("INSERT INTO orders (id, customer, gift) VALUES (30, 'x', 'yes'), (31, 'y', 'no')")
    day.lab.ask("UPDATE orders SET gift = 'yes', paid = true WHERE id = 1")
    day.lab.ask("UPDATE orders SET note = REPEAT('n', 101) WHERE id = 2")
    day.lab.ask("UPDATE products SET price = 1.2345 WHERE id = 1")
    day.go_back()
    found = {(t, k, c): r for t, k, c, r in day.reasons()}
    assert found.pop(("orders", '["2"]', "note")).startswith("Data too long")
    assert found == {
        ("coupons", '["1"]', ""): NO_TABLE,
        ("orders", '["30"]', "gift"): NO_COLUMN,
        ("orders", '["1"]', "gift"): NO_COLUMN,
        ("products", '["1"]', "price"): ROUNDED,
    }
    assert day.lab.ask("SELECT id, paid FROM orders WHERE id IN (1, 2, 30)") == [(1, 1), (2, 0), (30, 0)]


def test_tables_that_were_renamed_or_emptied(day: Day) -> None:
    day.migrate("RENAME TABLE products TO goods; ALTER TABLE items RENAME `lines`;DELETE FROM `lines`;")
    day.lab.ask("INSERT INTO goods VALUES (11, 'new', 1, 1)")
    day.lab.ask("UPDATE goods SET stock = 5 WHERE id = 1")
    day.lab.ask("INSERT INTO `lines` VALUES (1, 3, 4)")
    seen = day.lab.driver().writes_since(day.taken, ())
    assert seen.complete, seen.reasons
    assert {t.table: (t.inserted, t.updated) for t in seen.tables} == {"products": (1, 1), "items": (1, 0)}
    day.go_back()
    assert day.lab.ask("SELECT id FROM products WHERE id = 11 OR stock = 5 ORDER BY 1") == [(1,), (11,)]
    assert row(day, "SELECT COUNT(*) FROM items") == (21,)
    assert day.conflicts() == []


def test_what_the_shop_emptied_is_empty(day: Day) -> None:
    day.migrate("UPDATE products SET price = 0;")
    day.lab.ask("TRUNCATE TABLE items")
    day.lab.ask("INSERT INTO items VALUES (1, 3, 4)")
    counted = {t.table: (t.inserted, t.deleted) for t in day.lab.driver().writes_since(day.taken, ()).tables}
    assert counted == {"items": (1, 20)}
    day.go_back()
    assert day.lab.ask("SELECT order_id, product FROM items") == [(1, 3)]


def test_numbers_are_never_handed_out_again(day: Day) -> None:
    with day.lab.session() as client:
        client.autocommit(False)
        client.cursor().execute("INSERT INTO orders (customer) VALUES ('never committed')")
        client.rollback()
    day.lab.ask("INSERT INTO orders (id, customer) VALUES (500, 'x')")
    day.lab.ask("DELETE FROM orders WHERE id = 500")
    day.migrate("DELETE FROM orders WHERE id > 10;")
    failed = day.go_back().failed
    day.lab.ask("INSERT INTO orders (customer) VALUES ('next')")
    next_ = day.lab.ask(
        "SELECT auto_increment FROM information_schema.tables WHERE table_name = 'orders' "
        f"AND table_schema = '{failed}'"
    )[0][0]
    assert row(day, "SELECT id FROM orders WHERE customer = 'next'")[0] == next_


def test_values_that_pass_from_row_to_row(day: Day) -> None:
    """Unique values that each row gives to the next, within one batch."""
    day.migrate("UPDATE products SET price = 0;")
    day.lab.ask("INSERT INTO orders (id, customer) VALUES (40, 'a')")
    day.lab.ask("UPDATE orders SET customer = NULL WHERE id = 1")
    day.lab.ask("INSERT INTO orders (id, customer) VALUES (41, 'c1')")
    day.lab.ask("DELETE FROM orders WHERE id = 41")
    day.lab.ask("UPDATE orders SET customer = 'c1' WHERE id = 2")
    day.lab.ask("UPDATE orders SET id = 60 WHERE id = 40")
    day.go_back()
    assert day.lab.ask("SELECT id, customer FROM orders WHERE id IN (1, 2) OR id > 20 ORDER BY 1") == [
        (1, None), (2, "c1"), (60, "a")]  # fmt: skip
    assert day.conflicts() == []


def test_sequences_go_on_behind_every_number_they_gave(lab: Lab) -> None:
    day = Day.begin(lab, "CREATE SEQUENCE numbers CACHE 10;")
    day.migrate("UPDATE products SET price = 0;")
    given = [lab.ask("SELECT NEXTVAL(numbers)")[0][0] for _ in range(25)]
    seen = lab.driver().writes_since(day.taken, ())
    assert (seen.complete, seen.tables) == (True, ())
    day.go_back()
    assert day.conflicts() == []
    assert row(day, "SELECT NEXTVAL(numbers)")[0] > max(given)


def unchecked(day: Day, *statements: str) -> None:
    """By an importer, for whom foreign keys do not act."""
    with day.lab.session() as connection, connection.cursor() as cursor:
        for statement in ("SET foreign_key_checks = 0", *statements):
            cursor.execute(statement)


def test_what_was_written_without_foreign_keys_leaves_their_rows_alone(day: Day) -> None:
    day.migrate("UPDATE products SET price = 0;")
    unchecked(
        day,
        "DELETE FROM orders",
        "INSERT INTO orders (id, customer) VALUES (1, 'again'), (2, 'once more')",
        "TRUNCATE products",
        "INSERT INTO items VALUES (999, 999, 1)",
    )
    day.lab.ask("DELETE FROM orders WHERE id = 2")
    day.go_back()
    assert day.lab.ask("SELECT customer FROM orders") == [("again",)]
    assert row(day, "SELECT COUNT(*) FROM products") == (0,)
    assert row(day, "SELECT COUNT(*), SUM(order_id = 2), SUM(order_id = 999) FROM items") == (20, 0, 1)
    assert day.conflicts() == []


def test_a_table_that_the_copy_does_not_empty_is_listed(day: Day) -> None:
    day.migrate("ALTER TABLE items DROP FOREIGN KEY items_ibfk_2;")
    day.lab.ask("TRUNCATE products")
    day.go_back()
    assert [(t, k, c) for t, k, c, _ in day.reasons()] == [("products", "[]", "")]
    assert row(day, "SELECT COUNT(*) FROM products") == (10,)


def test_tables_that_refer_to_each_other(lab: Lab) -> None:
    day = Day.begin(
        lab,
        "CREATE TABLE customers (id int PRIMARY KEY, address int);"
        "CREATE TABLE addresses (id int PRIMARY KEY, customer int, FOREIGN KEY (customer) REFERENCES "
        "customers (id));"
        "ALTER TABLE customers ADD FOREIGN KEY (address) REFERENCES addresses (id);",
    )
    day.migrate("UPDATE products SET price = 0;")
    for statement in (
        "INSERT INTO customers VALUES (1, NULL)",
        "INSERT INTO addresses VALUES (1, 1)",
        "INSERT INTO customers VALUES (2, 1)",
        "INSERT INTO addresses VALUES (2, 2)",
    ):
        day.lab.ask(statement)
    day.go_back()
    assert day.conflicts() == []
    assert day.lab.ask("SELECT * FROM customers") == [(1, None), (2, 1)]
    assert day.lab.ask("SELECT * FROM addresses") == [(1, 1), (2, 2)]


def test_many_long_rows_are_carried_in_statements_that_the_server_takes(lab: Lab) -> None:
    day = Day.begin(lab, "CREATE TABLE papers (id int PRIMARY KEY, content mediumtext);")
    day.migrate("UPDATE products SET price = 0;")
    day.lab.ask("INSERT INTO papers SELECT seq, REPEAT('😀', 15000) FROM seq_1_to_40")
    (before,) = lab.ask("SELECT @@GLOBAL.max_allowed_packet", "")[0]
    lab.ask("SET GLOBAL max_allowed_packet = 1048576", "")
    try:
        day.go_back()
    finally:
        lab.ask(f"SET GLOBAL max_allowed_packet = {before}", "")
    assert day.lab.ask("SELECT COUNT(*), SUM(CHAR_LENGTH(content)) FROM papers") == [(40, 600000)]
    assert day.conflicts() == []


def test_a_drop_of_what_is_not_there_any_more_empties_nothing(day: Day) -> None:
    day.migrate(
        "ALTER TABLE items DROP FOREIGN KEY items_ibfk_2; DROP TABLE products;"
        "ALTER TABLE items DROP FOREIGN KEY items_ibfk_1; ALTER TABLE orders RENAME TO sales;"
    )
    day.lab.ask("DROP TABLE IF EXISTS products, orders")
    day.lab.ask("UPDATE sales SET paid = true WHERE id = 1")
    day.lab.ask("RENAME TABLE IF EXISTS products TO sales_2, orders TO sales_3")
    # A table of the same name is not the one that the migration dropped.
    day.lab.ask("CREATE TABLE products (id int PRIMARY KEY, name varchar(100) NOT NULL)")
    day.lab.ask("DROP TABLE products")
    writes = {
        w.table: (w.inserted, w.updated, w.deleted)
        for w in day.lab.driver().writes_since(day.taken, ()).tables
    }
    assert writes == {"orders": (0, 1, 0)}
    # The log may be read on from any place.
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    driver.carry_over(day.taken, RESTORE, ())
    day.lab.ask("DROP TABLE IF EXISTS products, orders")
    swapped = day.go_back()
    assert day.lab.ask("SELECT COUNT(*) FROM products") == [(10,)]
    assert day.lab.ask("SELECT COUNT(*), SUM(paid) FROM orders") == [(20, 1)]
    assert swapped.salvage.carried == {"orders": 1}
    assert day.reasons() == [("products", "[]", "", APART)]


def test_a_table_that_the_shop_dropped_and_made_again_is_as_the_shop_left_it(day: Day) -> None:
    day.lab.ask("SET STATEMENT foreign_key_checks = 0 FOR DROP TABLE items")
    day.lab.ask("DROP TABLE IF EXISTS items")
    day.migrate("UPDATE products SET price = 0;")
    day.lab.ask(
        "CREATE TABLE items (order_id bigint, product int, count int, PRIMARY KEY (order_id, product))"
    )
    day.lab.ask("INSERT INTO items VALUES (1, 1, 5), (2, 2, 5)")
    day.lab.ask("TRUNCATE items")
    day.lab.ask("INSERT INTO items VALUES (3, 3, 5)")
    day.go_back()
    assert day.lab.ask("SELECT order_id, count FROM items") == [(3, 5)]
    assert day.reasons() == []
