"""What every driver that rehearses with what code writes must keep; subclass it and give the fixture."""

from __future__ import annotations

from typing import Protocol

import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.ports.drivers import Migrates, Snapshots
from lastgood.ports.rehearsing import Journey, Journeys, RehearsesWrites
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, Subject, script

NEXT = "(SELECT coalesce(max(id), 0) + 1 FROM orders)"
OLD = Journey("the old release", f"INSERT INTO orders (id, note) VALUES ({NEXT}, 'old');")
NEW = Journey("the new release", f"INSERT INTO orders (id, note, gift) VALUES ({NEXT}, 'new', 'a rose');")
ADD = "ALTER TABLE orders ADD COLUMN"
RENAME = "ALTER TABLE orders RENAME COLUMN"
UNIQUE = "CREATE UNIQUE INDEX one_of_each ON orders (note);"
DROP = "DROP INDEX {index}"


class Database(Migrates, Snapshots, RehearsesWrites, Protocol):
    """A driver with all that a rehearsal needs."""


class RehearsesWritesConformance:
    """The subclass gives ``subject``."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    @pytest.fixture
    def driver(self, subject: Subject) -> Database:
        """Of a database with one migration and three orders."""
        driver = subject.build()
        assert isinstance(driver, RehearsesWrites)
        driver.deploy(ORDERS, KEY)
        for number in range(3):
            subject.ask(f"INSERT INTO orders VALUES ({number}, 'note {number}')")
        return driver

    @pytest.mark.parametrize("copied", [True, False], ids=["live", "snapshot"])
    def test_both_write_and_all_is_as_it_was(self, driver: Database, subject: Subject, copied: bool) -> None:
        before = driver.fingerprint()
        source = None if copied else driver.snapshot("r")
        seen = driver.rehearse_writes(source, [GIFTS], [ORDERS], Journeys(NEW, (OLD,)))
        assert (seen.old_runs_on_new, str(seen.complaint), str(seen.untried)) == (True, "", "")
        assert seen.additive is True
        assert seen.difference == ""
        assert seen.fingerprint_before == seen.fingerprint_after == before == driver.fingerprint()
        assert subject.ask("SELECT count(*) FROM orders") == [(3,)]

    def test_old_code_that_cannot_write_any_more_is_told_with_the_reason(
        self, driver: Database, subject: Subject
    ) -> None:
        """Its verify scripts see nothing of it."""
        revert = subject.drop_index.format(index="one_of_each")
        strict = script("0002_strict", UNIQUE, "SELECT note FROM orders WHERE 1 = 0;", revert)
        seen = driver.rehearse_writes(None, [strict], [ORDERS], Journeys(None, (OLD, OLD)))
        assert not seen.old_runs_on_new
        assert "one_of_each" in str(seen.complaint) or "orders.note" in str(seen.complaint)
        assert seen.additive is False
        assert seen.difference == ""

    def test_an_old_journey_that_fails_on_its_own_schema_proves_nothing(self, driver: Database) -> None:
        twice = Journey("the old release", "INSERT INTO orders (id, note) VALUES (77, 'once');")
        seen = driver.rehearse_writes(None, [GIFTS], [ORDERS], Journeys(NEW, (twice,)))
        assert seen.untried
        assert (seen.old_runs_on_new, seen.additive) == (True, True)

    def test_a_new_journey_that_fails_is_refused(self, driver: Database) -> None:
        wrong = Journey("the new release", "INSERT INTO orders (id, nothing) VALUES (1, 'x');")
        with pytest.raises(Rejected, match=r"journey\.sql of the new release") as caught:
            driver.rehearse_writes(None, [GIFTS], [ORDERS], Journeys(wrong, (OLD,)))
        assert caught.value.cause is Cause.SCRIPT_ERROR

    def test_a_new_journey_has_to_be_repeatable(self, driver: Database) -> None:
        once = Journey("the new release", "INSERT INTO orders (id, note) VALUES (77, 'once');")
        with pytest.raises(Rejected, match=r"journey\.sql of the new release"):
            driver.rehearse_writes(None, [GIFTS], [ORDERS], Journeys(once, ()))

    def test_a_journey_changes_rows_only(self, driver: Database) -> None:
        sly = Journey("the new release", "CREATE TABLE IF NOT EXISTS sly (id integer);")
        with pytest.raises(Rejected, match="changes the schema"):
            driver.rehearse_writes(None, [GIFTS], [ORDERS], Journeys(sly, ()))

    def test_a_revert_is_tried_with_what_was_written(self, driver: Database) -> None:
        """It takes along the orders that came since: on a copy without them nobody would see it."""
        greedy = script(
            "0002_gifts", GIFTS.deploy, GIFTS.verify, f"DELETE FROM orders WHERE note = 'new'; {GIFTS.revert}"
        )
        assert driver.rehearse_writes(None, [greedy], [ORDERS], Journeys()).difference == ""
        seen = driver.rehearse_writes(None, [greedy], [ORDERS], Journeys(NEW, (OLD,)))
        assert seen.difference == "table orders has other rows: it had 6, and has 4"

    def test_a_revert_may_bring_new_values_to_where_the_old_schema_holds_them(self, driver: Database) -> None:
        revert = f"UPDATE orders SET note = gift WHERE gift IS NOT NULL; {GIFTS.revert}"
        keeps = script("0002_gifts", GIFTS.deploy, GIFTS.verify, revert)
        seen = driver.rehearse_writes(None, [keeps], [ORDERS], Journeys(NEW, (OLD,)))
        assert seen.difference == ""

    @pytest.mark.parametrize(
        ("deploy", "revert", "additive"),
        [
            (f"{ADD} n integer NOT NULL DEFAULT 0;", "ALTER TABLE orders DROP COLUMN n;", True),
            ("CREATE INDEX by_id ON orders (id);", DROP.format(index="by_id"), True),
            (UNIQUE, DROP.format(index="one_of_each"), False),
            (DROP.format(index="orders_by_note"), "CREATE INDEX orders_by_note ON orders (note);", True),
            (f"{RENAME} note TO remark;", f"{RENAME} remark TO note;", False),
            ("CREATE TABLE strict (id integer NOT NULL UNIQUE);", "DROP TABLE strict;", True),
        ],
        ids=["column", "index", "unique", "dropped", "renamed", "table"],
    )  # fmt: skip
    def test_only_additions_that_refuse_no_write_are_additive(
        self, driver: Database, subject: Subject, deploy: str, revert: str, additive: bool
    ) -> None:
        additive = additive and not (subject.names_indexes and deploy.startswith("DROP INDEX"))
        drops = {DROP.format(index=i): i for i in ("by_id", "one_of_each", "orders_by_note")}
        deploy, revert = (
            subject.drop_index.format(index=drops[text]) if text in drops else text
            for text in (deploy, revert)
        )
        tried = script("0002_tried", deploy, "SELECT 1;", revert)
        seen = driver.rehearse_writes(None, [tried], [ORDERS], Journeys())
        assert (seen.additive, seen.difference) == (additive, "")
