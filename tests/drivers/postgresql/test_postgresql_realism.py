"""A schema that grew for ten years, with customers in it: proven, rehearsed, there and back, restored."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until

SCHEMA = Path(__file__).with_name("realism.sql").read_text()
ROWS = 200_000
WIDER = script(
    "0001_wider",
    "ALTER TABLE orders ADD COLUMN gift text; CREATE INDEX orders_gift ON orders (gift);"
    "ALTER TABLE customers ADD COLUMN vip boolean DEFAULT false NOT NULL; ALTER TABLE big ADD COLUMN x int;"
    "CREATE VIEW gifts AS SELECT id, gift FROM orders; ALTER TABLE stock ADD CHECK (n >= 0);",
    "SELECT gift FROM gifts; SELECT vip FROM firms; SELECT x FROM big LIMIT 1;",
    "ALTER TABLE stock DROP CONSTRAINT stock_n_check; DROP VIEW gifts; ALTER TABLE big DROP COLUMN x;"
    "ALTER TABLE customers DROP COLUMN vip; ALTER TABLE orders DROP COLUMN gift;",
)
BAD = script(
    "0002_bad",
    "UPDATE prices SET price = 0; UPDATE orders SET total = 0; DELETE FROM bookings WHERE id > 10;"
    "UPDATE big SET payload = '' WHERE id % 1000 = 0; UPDATE customers SET tags = '{}';"
    "UPDATE stock SET n = 0;",
    "SELECT 1;",
    "SELECT 1;",
)


@pytest.fixture
def grown(lab: Lab) -> Lab:
    reader = f"reader_{lab.name}"
    lab.ask(f"CREATE ROLE {reader}")
    lab.ask(SCHEMA.format(reader=reader, rows=ROWS))
    return lab


@dataclass
class Customer(threading.Thread):
    """Orders, pays and moves orders to another day, until nobody may come in."""

    lab: Lab
    number: int
    days: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        try:
            with self.lab.session() as connection:
                for n in range(400):
                    self._order(connection, n)
        except psycopg.OperationalError:
            return

    def _order(self, connection: psycopg.Connection[tuple[object, ...]], n: int) -> None:
        with connection.transaction():
            question = "INSERT INTO orders (day, customer, total) VALUES (%s, %s, 7) RETURNING id"
            row = connection.execute(question, (f"2026-0{1 + n % 9}-01", self.number)).fetchone()
            connection.execute(
                "INSERT INTO lines VALUES (%s, %s, 1, 'x', 7)", (row[0], f"2026-0{1 + n % 9}-01")
            )
        self.days[row[0]] = f"2026-0{1 + n % 9}-01"
        if n % 3 == 0:
            connection.execute("UPDATE orders SET day = '2025-12-24' WHERE id = %s", (row[0],))
            self.days[row[0]] = "2025-12-24"
        connection.execute("UPDATE big SET n = n + 1 WHERE id = %s", (self.number,))


def test_all_of_it_is_proven_rehearsed_and_comes_back_by_script(grown: Lab) -> None:
    driver = grown.driver(lock_deadline=10)
    before = driver.fingerprint()
    taken = driver.prove(driver.snapshot("s"))
    assert taken.proven_at is not None
    seen = driver.rehearse(taken, [WIDER], [])
    assert (seen.difference, seen.fingerprint_after) == ("", before)
    driver.deploy(WIDER, KEY)
    grown.ask("UPDATE orders SET gift = 'g' WHERE id <= 400; UPDATE firms SET vip = true")
    grown.ask("UPDATE big SET x = 1 WHERE id = 7")
    kept = driver.revert(WIDER, "back")
    assert kept.pop("big.x") == 1
    assert kept.pop("firms.vip") == 5
    assert sum(kept.values()) == 400, "each partition for itself"
    assert driver.fingerprint() == before
    assert sum(driver.deploy(WIDER, "again").values()) == 406
    assert grown.ask("SELECT count(*) FROM orders WHERE gift = 'g'") == [(400,)]
    assert grown.ask("SELECT count(*) FROM customers WHERE vip") == [(5,)]


def test_a_restore_of_it_while_customers_order(grown: Lab) -> None:
    driver, ask = grown.driver(lock_timeout=5, lock_deadline=30), grown.ask
    cut = driver.capture("cut")
    driver.deploy(BAD, KEY)
    customers = [Customer(grown, number) for number in (1, 2)]
    for customer in customers:
        customer.start()
    ask("UPDATE orders SET day = '2025-12-31' WHERE id = 450; DELETE FROM orders WHERE id = 300")
    ask("UPDATE orders SET status = 'paid' WHERE id BETWEEN 400 AND 420")
    ask("UPDATE firms SET tax_number = 'T1b' WHERE tax_number = 'T1'")
    ask("INSERT INTO firms (mail, tax_number) VALUES ('new@x', 'N1')")
    ask("INSERT INTO customers (mail, home) VALUES ('n@x', ROW('a', 'b,\"c')::place)")
    ask("INSERT INTO bookings VALUES (101, 2, tsrange('2026-01-16', '2026-01-17'))")
    ask("INSERT INTO bookings VALUES (102, 1, tsrange('2026-01-16', '2026-01-17'))")
    ask("UPDATE prices SET price = 3 WHERE sku = 'sku1'; INSERT INTO views_today VALUES ('/', 1), ('/x', 1)")
    ask("UPDATE stock SET house = 'kiel' WHERE (house, sku) = ('rome', 'sku2')")
    ask("INSERT INTO stock VALUES ('paris', 'p', 1); UPDATE notes SET body = 'z'")
    ask("UPDATE big SET n = -1 WHERE id % 500 = 0")
    until(lambda: all(len(c.days) > 20 for c in customers))
    since = driver.writes_since(cut, ())
    assert since.complete, since.reasons
    moved = next(t for t in since.tables if t.table == "orders")
    assert moved.deleted == 1, "one that moved to another partition is not deleted"
    driver.refuse_restore(cut, ())
    driver.prepare_copy(cut, "restore")
    driver.carry_over(cut, "restore", ())
    swapped = driver.swap(cut, "restore", ())
    for customer in customers:
        customer.join(30)

    assert driver.fingerprint() == cut.fingerprint
    ordered = {number: day for c in customers for number, day in c.days.items()}
    there = dict(ask("SELECT id, day::text FROM orders WHERE id > 500"))
    assert ordered.items() <= there.items(), "every acknowledged order is there, where it was moved to"
    assert set(ask("SELECT order_id FROM lines WHERE order_id > 500")) == {(n,) for n in there}
    assert ask("SELECT sum(total) FROM orders WHERE id <= 500") == [(500 * 501 // 2 - 300,)]
    assert ask("SELECT day::text, tableoid::regclass::text FROM orders WHERE id = 450") == [
        ("2025-12-31", "orders_2025")
    ]
    assert ask("SELECT count(*) FROM bookings WHERE id > 10") == [(11,)]
    assert ask("SELECT house, n FROM stock WHERE sku IN ('sku2', 'p') ORDER BY 1") == [
        ("kiel", 100), ("oslo", 100), ("paris", 1),
    ]  # fmt: skip
    pages = "SELECT page, n FROM views_today ORDER BY 1"
    assert len(ask(pages)) == 2
    assert ask(pages) == ask(pages, name=swapped.failed), "its rule does not count once more"
    assert ask("SELECT count(*) FILTER (WHERE n = -1), count(*) FILTER (WHERE payload = '') FROM big") == [
        (ROWS // 500, 0)
    ]
    assert ask("SELECT tags::text FROM customers WHERE id = 5") == [("{a,b}",)]
    assert ask("SELECT tax_number, loud FROM firms WHERE id = 51") == [("T1b", "F1@X")]
    assert swapped.salvage.conflicts == {"bookings": 1, "prices": 1}
    reasons = ask("SELECT reason FROM lastgood.conflicts WHERE \"table\" = 'bookings'")
    assert "exclusion constraint" in str(reasons)
    (number,) = ask("INSERT INTO orders (day, total) VALUES ('2026-01-01', 1) RETURNING id")[0]
    assert int(str(number)) > max(there)


def test_a_migration_that_moved_rows_to_another_partition_is_undone_row_by_row(lab: Lab) -> None:
    lab.ask(
        "CREATE TABLE o (id int, day date, t int, n text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
        "CREATE TABLE o1 PARTITION OF o FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');"
        "CREATE TABLE o2 PARTITION OF o DEFAULT;"
        "INSERT INTO o SELECT n, '2025-05-05', n, 'a' FROM generate_series(1, 8) n"
    )
    driver = lab.driver()
    cut = driver.capture("cut")
    driver.deploy(
        script("0001_m", "UPDATE o SET day = '2026-06-06', t = 0 WHERE id < 7", "SELECT 1", "SELECT 1"), KEY
    )
    lab.ask("UPDATE o SET n = 'shop' WHERE id = 1; UPDATE o SET day = '2025-05-05' WHERE id = 2")
    lab.ask("UPDATE o SET day = '2025-07-07' WHERE id = 3; DELETE FROM o WHERE id = 4")
    lab.ask("INSERT INTO o VALUES (5, '2025-05-05', 55, 'new')")
    lab.ask("UPDATE o SET day = '2026-01-01' WHERE id = 7")
    lab.ask("BEGIN; DELETE FROM o WHERE id = 8; INSERT INTO o VALUES (8, '2027-01-01', 9, 'again'); COMMIT")
    driver.prepare_copy(cut, "restore")
    driver.carry_over(cut, "restore", ())
    driver.swap(cut, "restore", ())
    assert lab.ask("SELECT id, day::text, t, n FROM o ORDER BY id") == [
        (1, "2025-05-05", 1, "shop"),
        (2, "2025-05-05", 2, "a"),
        (3, "2025-05-05", 3, "a"),
        (5, "2025-05-05", 5, "a"),
        (6, "2025-05-05", 6, "a"),
        (7, "2026-01-01", 7, "a"),
        (8, "2027-01-01", 9, "again"),
    ]
    assert lab.ask('SELECT key, "column" FROM lastgood.conflicts ORDER BY 1') == [
        ('["3", "2025-07-07"]', "day"),
        ('["5", "2025-05-05"]', ""),
    ]
