"""A day at the shop: a snapshot, then a bad migration among the shop's own writes, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Swapped
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.postgresql.conftest import Lab

RESTORE = "rollout/restore"

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
    lab: Lab
    taken: Snapshot

    @classmethod
    def begin(cls, lab: Lab, more: str = "") -> Day:
        """With a capture open; ``more`` is there at the cut, too."""
        lab.ask(SHOP + more)
        return cls(lab, lab.driver().capture("cut"))

    def migrate(self, deploy: str, name: str = "0001_bad") -> None:
        self.lab.driver(lock_timeout=5).deploy(script(name, deploy, "SELECT 1;", "SELECT 1;"), KEY)

    def go_back(self, *keep: str) -> Swapped:
        self.lab.driver().refuse_restore(self.taken, keep)
        return self.go_back_again(*keep)

    def go_back_again(self, *keep: str) -> Swapped:
        """Whatever was done before."""
        driver = self.lab.driver()
        driver.prepare_copy(self.taken, RESTORE)
        driver.carry_over(self.taken, RESTORE, keep)
        swapped = driver.swap(self.taken, RESTORE, keep)
        assert driver.fingerprint() == self.taken.fingerprint
        return swapped

    def conflicts(self) -> list[tuple[object, ...]]:
        """Table, key, column, and the values at the cut, of the migration, of the shop."""
        return self.lab.ask(
            'SELECT "table", key, "column", at_cut, migration, shop FROM lastgood.conflicts ORDER BY 1, 2, 3'
        )

    def reasons(self) -> list[tuple[object, ...]]:
        return self.lab.ask('SELECT "table", key, "column", reason FROM lastgood.conflicts ORDER BY 1, 2, 3')
