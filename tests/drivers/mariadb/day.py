"""A day at the shop: a snapshot, then a bad migration among the shop's own writes, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Swapped
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.mariadb.conftest import Lab

RESTORE = "rollout/restore"

SHOP = """
CREATE TABLE products (id int PRIMARY KEY, name varchar(100) NOT NULL, price decimal(10,2) NOT NULL,
    stock int);
CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, customer varchar(20) UNIQUE, note varchar(100),
    at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), paid boolean NOT NULL DEFAULT false,
    shout varchar(300) GENERATED ALWAYS AS (UPPER(note)) STORED, quiet int AS (LENGTH(note)) VIRTUAL);
CREATE TABLE items (order_id bigint, product int, count int NOT NULL CHECK (count > 0),
    PRIMARY KEY (order_id, product), FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
    FOREIGN KEY (product) REFERENCES products (id));
CREATE VIEW unpaid AS SELECT id FROM orders WHERE NOT paid;
INSERT INTO products SELECT seq, CONCAT('product ', seq), seq * 10, 100 FROM seq_1_to_10;
INSERT INTO orders (id, customer, note) SELECT seq, CONCAT('c', seq), CONCAT('note ', seq) FROM seq_1_to_20;
INSERT INTO items SELECT seq, 1 + seq % 10, 2 FROM seq_1_to_20;
"""


@dataclass
class Day:
    lab: Lab
    taken: Snapshot

    @classmethod
    def begin(cls, lab: Lab, more: str = "") -> Day:
        """With a capture open; ``more`` is there at the cut, too."""
        for statement in (SHOP + more).split(";"):
            if statement.strip():
                lab.ask(statement)
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
            "SELECT `table`, `key`, `column`, at_cut, migration, shop FROM lastgood_conflicts "
            "ORDER BY 1, 2, 3"
        )

    def reasons(self) -> list[tuple[object, ...]]:
        return self.lab.ask(
            "SELECT `table`, `key`, `column`, reason FROM lastgood_conflicts ORDER BY 1, 2, 3"
        )
