"""Back to a snapshot with what was written since, on real servers: what becomes of each write."""

from __future__ import annotations

import json

import pytest

from lastgood.domain.salvage import Salvage
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.day import RESTORE, Day


@pytest.fixture
def day(lab: Lab) -> Day:
    return Day.begin(lab)


def test_prices_halved_and_the_day_kept(day: Day) -> None:
    ask = day.lab.ask
    ask("INSERT INTO orders (customer, note) VALUES ('before', 'x')")
    ask("UPDATE products SET stock = 99 WHERE id = 1")
    day.migrate("UPDATE products SET price = price / 2;")
    ask("INSERT INTO orders (customer, note) VALUES ('after', 'y')")
    ask("INSERT INTO items VALUES (22, 1, 3)")
    ask("UPDATE products SET stock = stock - 1 WHERE id = 1")
    ask("UPDATE products SET price = 4.50, name = 'renamed' WHERE id = 2")
    ask("UPDATE products SET price = 30 WHERE id = 3")
    ask("DELETE FROM orders WHERE id = 5")
    ask("UPDATE orders SET paid = true WHERE id = 6")
    log = ask("SELECT count(*) FROM log")
    swapped = day.go_back()
    assert ask("SELECT id, price, stock, name FROM products WHERE id < 4 ORDER BY 1") == [
        (1, 10, 98, "product 1"),
        (2, 20, 100, "renamed"),
        (3, 30, 100, "product 3"),
    ]
    assert ask("SELECT customer, shout FROM orders WHERE id > 20 ORDER BY 1") == [
        ("after", "Y"),
        ("before", "X"),
    ]
    assert ask("SELECT count(*), count(*) FILTER (WHERE paid) FROM orders") == [(21, 1)]
    assert ask("SELECT count(*) FROM items WHERE order_id IN (5, 22)") == [(1,)]
    assert ask("SELECT count(*) FROM log") == log, "the copy's triggers add nothing"
    assert day.conflicts() == [("products", '["2"]', "price", "20.00", "10.00", "4.50")]
    assert swapped.salvage.conflicts == {"products": 1}
    assert swapped.salvage.carried["orders"] == 4
    assert 0 < swapped.swap_seconds < swapped.fence_seconds < 5
    assert ask("INSERT INTO orders (customer) VALUES ('next') RETURNING id") == [(23,)]
    assert ask("SELECT tgenabled FROM pg_trigger WHERE tgname = 'logged'") == [("O",)]
    assert ask("SELECT price FROM products WHERE id = 2", name=swapped.failed) == [(pytest.approx(4.5),)]


def test_a_value_that_the_shop_put_back_is_no_conflict_any_more(day: Day) -> None:
    day.migrate("UPDATE products SET price = price / 2;")
    driver = day.lab.driver()
    day.lab.ask("UPDATE products SET price = 4 WHERE id = 1")
    driver.prepare_copy(day.taken, RESTORE)
    assert driver.carry_over(day.taken, RESTORE, ()).conflicts == {"products": 1}
    day.lab.ask("UPDATE products SET price = 10 WHERE id = 1")
    assert driver.carry_over(day.taken, RESTORE, ()).conflicts == {}
    day.lab.ask("UPDATE products SET price = 11 WHERE id = 1")
    assert day.go_back().salvage.conflicts == {}
    assert day.lab.ask("SELECT price FROM products WHERE id = 1") == [(11,)]


def test_rows_that_the_migration_deleted_come_back(day: Day) -> None:
    ask = day.lab.ask
    day.migrate("DELETE FROM items; DELETE FROM products WHERE id > 5;")
    ask("INSERT INTO products VALUES (6, 'again', 1, 1), (7, 'once more', 7, 7), (8, 'product 8', 80, 100)")
    ask("UPDATE products SET stock = 5 WHERE id = 6")
    ask("DELETE FROM products WHERE id = 7")
    ask("INSERT INTO items VALUES (1, 2, 9)")
    day.go_back()
    assert ask("SELECT count(*), sum(stock) FROM products") == [(10, 1000)]
    assert ask("SELECT count(*) FROM items") == [(20,)]
    (first, second) = day.conflicts()
    assert first[:3] == ("items", '["1", "2"]', "")
    assert json.loads(str(first[3]))["count"] == "2"
    assert json.loads(str(first[5]))["count"] == "9"
    assert second[:3] == ("products", '["6"]', "")
    assert json.loads(str(second[5])) == {"id": "6", "name": "again", "price": "1.00", "stock": "5"}


def test_rows_that_the_migration_inserted_are_not_taken_and_what_hangs_on_them_is_listed(day: Day) -> None:
    ask = day.lab.ask
    day.migrate("INSERT INTO products SELECT n, 'junk', 1, 1 FROM generate_series(50, 59) n;")
    ask("INSERT INTO items VALUES (1, 50, 1), (1, 3, 1)")
    ask("UPDATE products SET stock = 7 WHERE id = 51")
    ask("UPDATE items SET product = 52, count = 8 WHERE order_id = 2")
    ask("DELETE FROM products WHERE id = 53; INSERT INTO products VALUES (53, 'of the shop', 3, 3)")
    ask("INSERT INTO items VALUES (3, 53, 1)")
    day.go_back()
    assert ask("SELECT id, name FROM products WHERE id > 10") == [(53, "of the shop")]
    assert ask("SELECT order_id, product, count FROM items WHERE order_id < 4 ORDER BY 1, 2") == [
        (1, 2, 2), (1, 3, 1), (2, 3, 8), (3, 4, 2), (3, 53, 1),
    ]  # fmt: skip
    assert [row[:3] for row in day.reasons()] == [
        ("items", '["1", "50"]', ""),
        ("items", '["2", "52"]', "product"),
        ("products", '["51"]', ""),
    ]
    assert "which is not in the copy" in str(day.reasons()[0][3])


def test_what_the_old_shape_cannot_hold_is_kept_as_rows(lab: Lab) -> None:
    day, ask = Day.begin(lab, "CREATE TABLE notes (id serial PRIMARY KEY, what text);"), lab.ask
    day.migrate(
        "ALTER TABLE orders ADD gift boolean NOT NULL DEFAULT false, ADD tip int;"
        "ALTER TABLE products ALTER price TYPE numeric(12,4), ALTER stock TYPE bigint;"
        "CREATE TABLE vouchers (code text PRIMARY KEY, amount int); INSERT INTO vouchers VALUES ('m', 1);"
        "ALTER TABLE notes RENAME TO journal;"
    )
    ask("INSERT INTO orders (customer, gift, tip) VALUES ('g', true, 5), ('n', false, NULL)")
    ask("UPDATE orders SET paid = true WHERE id = 1")
    ask("UPDATE products SET price = 1.2345, name = 'fine' WHERE id = 1")
    ask("UPDATE products SET price = 1.25, stock = 3000000000 WHERE id = 2")
    ask("UPDATE products SET price = 2.5 WHERE id = 3")
    ask("INSERT INTO vouchers VALUES ('s', 2); UPDATE vouchers SET amount = 9 WHERE code = 's'")
    ask("INSERT INTO vouchers VALUES ('gone', 3); DELETE FROM vouchers WHERE code = 'gone'")
    ask("INSERT INTO journal (what) VALUES ('renamed')")
    day.go_back()
    assert ask("SELECT customer, paid FROM orders WHERE id IN (1, 21, 22) ORDER BY id") == [
        ("c1", True), ("g", False), ("n", False),
    ]  # fmt: skip
    assert ask("SELECT price, stock, name FROM products WHERE id < 4 ORDER BY id") == [
        (10, 100, "fine"), (20, 100, "product 2"), (2.5, 100, "product 3"),
    ]  # fmt: skip
    assert ask("SELECT count(*) FROM notes WHERE what = 'renamed'") == [(1,)]
    found = {row[:3]: row[5] for row in day.conflicts()}
    assert found.keys() == {
        ("orders", '["21"]', "gift"), ("orders", '["21"]', "tip"), ("products", '["1"]', "price"),
        ("products", '["2"]', "price"), ("products", '["2"]', "stock"), ("vouchers", '["s"]', ""),
    }  # fmt: skip
    assert found["products", '["1"]', "price"] == "1.2345"
    assert json.loads(str(found["vouchers", '["s"]', ""])) == {"code": "s", "amount": "9"}


def test_a_column_that_the_migration_dropped(day: Day) -> None:
    ask = day.lab.ask
    day.migrate("ALTER TABLE products DROP name; ALTER TABLE orders DROP note CASCADE;")
    ask("INSERT INTO products VALUES (11, 5, 5)")
    ask("UPDATE products SET stock = 1 WHERE id = 1")
    ask("INSERT INTO orders (customer) VALUES ('x')")
    ask("INSERT INTO items VALUES (21, 11, 1)")
    day.go_back()
    assert ask("SELECT id, name, stock FROM products WHERE id IN (1, 11)") == [(1, "product 1", 1)]
    assert ask("SELECT customer, note FROM orders WHERE id = 21") == [("x", None)]
    assert [row[:3] for row in day.conflicts()] == [
        ("items", '["21", "11"]', ""),
        ("products", '["11"]', ""),
    ]


def test_truncates_of_either_side(day: Day) -> None:
    ask = day.lab.ask
    ask("INSERT INTO log (what) VALUES ('one')")
    ask("BEGIN; INSERT INTO log (what) VALUES ('2'); TRUNCATE log; INSERT INTO log (what) VALUES ('3'); END")
    day.migrate("TRUNCATE orders CASCADE;")
    ask("INSERT INTO orders (customer, note) VALUES ('late', 'n')")
    day.go_back()
    assert ask("SELECT what FROM log WHERE what NOT LIKE 'INSERT%'") == [("3",)]
    assert ask("SELECT count(*), max(customer) FROM orders") == [(21, "late")]
    assert ask("SELECT count(*) FROM items") == [(20,)]
    assert day.conflicts() == []


def test_keys_that_change(day: Day) -> None:
    ask = day.lab.ask
    ask("INSERT INTO products VALUES (20, 'moves', 1, 1)")
    ask("UPDATE products SET id = 101 WHERE id = 20; UPDATE products SET id = 20, stock = 2 WHERE id = 101")
    ask("INSERT INTO products VALUES (11, 'new', 1, 1)")
    ask("BEGIN; UPDATE products SET id = 12 WHERE id = 11; INSERT INTO products VALUES (11, 'b', 2, 2); END")
    day.migrate(
        "ALTER TABLE items DROP CONSTRAINT items_product_fkey;"
        "UPDATE products SET id = id + 1000 WHERE id < 5;"
        "UPDATE items SET product = product + 1000 WHERE product < 5;"
    )
    ask("UPDATE products SET stock = 55 WHERE id = 1001")
    ask("UPDATE products SET id = 2 WHERE id = 1002")
    ask("UPDATE products SET id = 77 WHERE id = 1003")
    ask("UPDATE items SET count = 9 WHERE order_id = 1")
    day.go_back()
    assert ask("SELECT id, stock FROM products WHERE id NOT BETWEEN 4 AND 9 ORDER BY 1") == [
        (1, 55), (2, 100), (3, 100), (10, 100), (11, 2), (12, 1), (20, 2),
    ]  # fmt: skip
    assert ask("SELECT product, count FROM items WHERE order_id = 1") == [(2, 9)]
    assert [row[:6] for row in day.conflicts()] == [("products", '["77"]', "id", "3", "1003", "77")]


def test_unique_values_that_pass_from_row_to_row(lab: Lab) -> None:
    day = Day.begin(lab, "CREATE TABLE seats (id int PRIMARY KEY, seat text UNIQUE, main bool);"
                         "INSERT INTO seats SELECT n, 's' || n FROM generate_series(1, 4) n;")  # fmt: skip
    with lab.session() as connection:
        for one, two in ((1, 2), (2, 3), (1, 4)):
            connection.execute("BEGIN; CREATE TEMP TABLE x ON COMMIT DROP AS SELECT * FROM seats")
            connection.execute(f"UPDATE seats SET seat = NULL WHERE id = {one}")
            connection.execute(f"UPDATE seats s SET seat = x.seat FROM x WHERE s.id = {two} AND x.id = {one}")
            connection.execute(
                f"UPDATE seats s SET seat = x.seat FROM x WHERE s.id = {one} AND x.id = {two}; COMMIT"
            )
    day.go_back()
    assert lab.ask("SELECT id, seat FROM seats ORDER BY 1") == [(1, "s4"), (2, "s3"), (3, "s1"), (4, "s2")]
    assert day.conflicts() == []


def test_only_what_is_to_be_kept_is_carried_over(day: Day) -> None:
    ask = day.lab.ask
    ask("INSERT INTO orders (customer) VALUES ('new')")
    ask("UPDATE products SET stock = 1")
    ask("DELETE FROM orders WHERE id = 2")
    swapped = day.go_back("orders", "log")
    assert ask("SELECT sum(stock) FROM products") == [(1000,)]
    assert ask("SELECT count(*) FROM orders") == [(21,)]
    assert swapped.salvage.carried.keys() == {"orders", "log"}
    assert [row[:3] for row in day.reasons()] == [("orders", '["2"]', "")], "its items are not kept"


def test_numbers_of_a_table_that_came_back(day: Day) -> None:
    ask = day.lab.ask
    ask("CREATE SEQUENCE invoices; SELECT nextval('invoices')")
    ask("INSERT INTO log (what) SELECT 'x' FROM generate_series(1, 30); DELETE FROM log WHERE id > 25")
    ask("SELECT nextval('log_id_seq') FROM generate_series(1, 5)")
    day.migrate(
        "DROP TABLE log CASCADE; DROP FUNCTION logged CASCADE; ALTER TABLE orders ALTER id SET CACHE 10;"
    )
    ask("INSERT INTO orders (customer) VALUES ('a')")
    ask("SELECT nextval('orders_id_seq') FROM generate_series(1, 100)")
    day.go_back("orders")
    assert ask("INSERT INTO log (what) VALUES ('next') RETURNING id > 50") == [(True,)]
    assert ask("INSERT INTO orders (customer) VALUES ('b') RETURNING id > 120") == [(True,)]


def test_foreign_keys_keep_their_timing_and_partitions_their_place(lab: Lab) -> None:
    day = Day.begin(lab, """
        CREATE TABLE sales (id int, day date, amount int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
        CREATE TABLE lines (id int PRIMARY KEY, sale int, day date,
            CONSTRAINT later FOREIGN KEY (sale, day) REFERENCES sales DEFERRABLE INITIALLY IMMEDIATE);
        INSERT INTO sales VALUES (1, '2026-01-05', 1), (2, '2026-02-05', 2);
        INSERT INTO lines VALUES (1, 1, '2026-01-05');""")  # fmt: skip
    day.migrate("UPDATE sales SET amount = 0;")
    lab.ask("INSERT INTO sales VALUES (3, '2026-01-06', 3); INSERT INTO lines VALUES (2, 3, '2026-01-06')")
    lab.ask("UPDATE sales SET day = '2026-01-07' WHERE id = 2")
    lab.ask("BEGIN; SET CONSTRAINTS later DEFERRED; INSERT INTO lines VALUES (3, 4, '2026-02-07');"
            "INSERT INTO sales VALUES (4, '2026-02-07', 4); COMMIT")  # fmt: skip
    day.go_back()
    assert lab.ask("SELECT tableoid::regclass::text, id, amount FROM sales ORDER BY id") == [
        ("sales_1", 1, 1), ("sales_1", 2, 2), ("sales_1", 3, 3), ("sales_2", 4, 4),
    ]  # fmt: skip
    assert lab.ask("SELECT count(*) FROM lines") == [(3,)]


def test_nothing_written_is_nothing_to_carry_and_each_call_says_the_same(day: Day) -> None:
    day.migrate("UPDATE products SET price = 0;")
    swapped = day.go_back()
    assert swapped.salvage == Salvage({}, {}, swapped.salvage.position)
    driver = day.lab.driver()
    assert driver.swap(day.taken, RESTORE, ()) == swapped
    assert driver.carry_over(day.taken, RESTORE, ()) == swapped.salvage
    driver.prepare_copy(day.taken, RESTORE)
    driver.abandon(RESTORE)
    assert day.lab.ask("SELECT sum(price) FROM products") == [(550,)]
    assert [n for n in day.lab.databases() if n.startswith(day.lab.name)] == sorted(
        [day.lab.name, swapped.failed]
    )
