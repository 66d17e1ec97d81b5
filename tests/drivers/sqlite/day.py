"""A day at the shop: a snapshot, then a bad migration among the shop's own writes, and the way back."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Swapped
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.sqlite.conftest import Lab

RESTORE = "rollout/restore"
WRITER = Path(__file__).with_name("writer.py")

SHOP = """
CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, price numeric NOT NULL, stock integer);
CREATE TABLE orders (id integer PRIMARY KEY AUTOINCREMENT, customer text UNIQUE, note text,
    paid integer NOT NULL DEFAULT 0, shout text AS (upper(note)) STORED);
CREATE TABLE lines (order_id integer REFERENCES orders (id) ON DELETE CASCADE,
    item integer REFERENCES items (id), count integer NOT NULL CHECK (count > 0),
    PRIMARY KEY (order_id, item));
CREATE TABLE visits (page text);
CREATE VIEW unpaid AS SELECT id FROM orders WHERE NOT paid;
CREATE INDEX orders_by_note ON orders (note);
CREATE TRIGGER sold AFTER INSERT ON lines BEGIN
    UPDATE items SET stock = stock - new.count WHERE id = new.item;
END;
INSERT INTO items VALUES (1, 'one', 10, 100), (2, 'two', 20, 100), (3, 'three', 30, 100);
INSERT INTO orders (id, customer, note) VALUES (1, 'c1', 'n1'), (2, 'c2', 'n2'), (3, 'c3', 'n3');
INSERT INTO lines VALUES (1, 1, 2), (2, 2, 2), (3, 3, 2);
INSERT INTO visits VALUES ('/'), ('/cart');
"""


@dataclass
class Day:
    lab: Lab
    taken: Snapshot
    acknowledged: list[int] = field(default_factory=list)

    @classmethod
    def begin(cls, lab: Lab, more: str = "") -> Day:
        """With a capture open; ``more`` is there at the cut, too."""
        lab.script(SHOP + more)
        return cls(lab, lab.driver().capture("cut"))

    def migrate(self, deploy: str, name: str = "0001_bad", revert: str = "SELECT 1;") -> None:
        driver = self.lab.driver(lock_timeout=2, lock_deadline=20)
        driver.deploy(script(name, deploy, "SELECT 1;", revert), KEY)

    def go_back(self, *keep: str) -> Swapped:
        self.lab.driver().refuse_restore(self.taken, keep)
        return self.go_back_again(*keep)

    def go_back_again(self, *keep: str) -> Swapped:
        """Whatever was done before."""
        driver = self.lab.driver(lock_timeout=2, lock_deadline=20)
        driver.prepare_copy(self.taken, RESTORE)
        driver.carry_over(self.taken, RESTORE, keep)
        swapped = driver.swap(self.taken, RESTORE, keep)
        assert driver.fingerprint() == self.taken.fingerprint
        assert self.lab.ask("PRAGMA integrity_check") == [("ok",)]
        return swapped

    def conflicts(self) -> list[tuple[object, ...]]:
        """Table, key, column, and the values at the cut, of the migration, of the shop."""
        return self.lab.ask(
            'SELECT "table", "key", "column", at_cut, migration, shop FROM lastgood_conflicts '
            "ORDER BY 1, 2, 3"
        )

    def reasons(self) -> list[tuple[object, ...]]:
        return self.lab.ask(
            'SELECT "table", "key", "column", reason FROM lastgood_conflicts ORDER BY 1, 2, 3'
        )

    @contextlib.contextmanager
    def customers(self, number: int) -> Iterator[list[subprocess.Popen[str]]]:
        """Programs that write all the time; what they were told is written is in ``acknowledged`` after."""
        running = [
            subprocess.Popen(
                [sys.executable, str(WRITER), str(self.lab.path), str(1_000_000 * (n + 1))],
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(number)
        ]
        try:
            yield running
        finally:
            for program in running:
                program.kill()
                said, _ = program.communicate()
                self.acknowledged += [int(line) for line in said.splitlines()]
