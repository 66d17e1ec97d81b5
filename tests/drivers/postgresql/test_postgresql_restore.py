"""Back to a snapshot with what was written since, on real servers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Swapped
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.postgresql.conftest import Lab

SHOP = """
CREATE TABLE products (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2) NOT NULL, stock int);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text, note text,
    at timestamptz NOT NULL DEFAULT clock_timestamp(), paid boolean NOT NULL DEFAULT false,
    shout text GENERATED ALWAYS AS (upper(note)) STORED);
CREATE TABLE items (order_id bigint REFERENCES orders ON DELETE CASCADE, product int REFERENCES products,
    count int NOT NULL CHECK (count > 0), PRIMARY KEY (order_id, product));
CREATE TABLE log (id serial PRIMARY KEY, what text);
CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO log (what) VALUES (TG_OP || ' ' || NEW.id); RETURN NEW; END $$;
CREATE TRIGGER logged AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION logged();
INSERT INTO products SELECT n, 'product ' || n, n * 10, 100 FROM generate_series(1, 10) n;
INSERT INTO orders (customer, note) SELECT 'c' || n, 'note ' || n FROM generate_series(1, 20) n;
INSERT INTO items SELECT n, 1 + n % 10, 2 FROM generate_series(1, 20) n;
"""


@dataclass
class Day:
    """A day at the shop: a snapshot, then a bad migration among the shop's own writes."""

    lab: Lab
    taken: Snapshot

    def migrate(self, deploy: str, name: str = "0001_bad") -> None:
        self.lab.driver(lock_timeout=5).deploy(script(name, deploy, "SELECT 1;", "SELECT 1;"), KEY)

    def go_back(self, *keep: str) -> Swapped:
        driver = self.lab.driver()
        driver.refuse_restore(self.taken, keep)
        driver.prepare_copy(self.taken, "r")
        driver.carry_over(self.taken, "r", keep)
        return driver.swap(self.taken, "r", keep)

    def conflicts(self) -> list[tuple[object, ...]]:
        return self.lab.ask(
            'SELECT "table", key, "column", at_cut, migration, shop, reason FROM lastgood.conflicts ORDER BY 1, 2, 3'
        )


@pytest.fixture
def day(lab: Lab) -> Day:
    lab.ask(SHOP)
    return Day(lab, lab.driver().capture("cut"))


def test_prices_halved_and_the_day_kept(day: Day) -> None:
    ask = day.lab.ask
    ask("INSERT INTO orders (customer, note) VALUES ('before', 'x')")
    ask("UPDATE products SET stock = 99 WHERE id = 1")
    day.migrate("UPDATE products SET price = price / 2;")
    ask("INSERT INTO orders (customer, note) VALUES ('after', 'y')")
    ask("INSERT INTO items VALUES (22, 1, 3)")
    ask("UPDATE products SET stock = 98 WHERE id = 1")
    ask("UPDATE products SET price = 4.50, name = 'renamed' WHERE id = 2")
    ask("UPDATE products SET price = 30 WHERE id = 3")
    ask("DELETE FROM orders WHERE id = 5")
    ask("UPDATE orders SET paid = true WHERE id = 6")
    log = ask("SELECT count(*) FROM log")
    before = day.taken.fingerprint
    swapped = day.go_back()
    assert day.lab.driver().fingerprint() == before
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
    assert [row[:6] for row in day.conflicts()] == [("products", '["2"]', "price", "20.00", "10.00", "4.50")]
    assert swapped.salvage.conflicts == {"products": 1}
    assert 0 < swapped.swap_seconds < swapped.fence_seconds < 5
    assert ask("INSERT INTO orders (customer) VALUES ('next') RETURNING id") == [(23,)]
    assert ask("SELECT tgenabled FROM pg_trigger WHERE tgname = 'logged'") == [("O",)]
