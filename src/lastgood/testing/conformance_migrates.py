"""What every driver that migrates a database must keep; subclass it and give the fixture.

The scripts use SQL that every database understands; a verify script fails by asking for what isn't there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from lastgood.domain.digest import digest
from lastgood.domain.errors import Cause, Conflict, InvalidInput, Rejected
from lastgood.ports.drivers import Migrates, MigrationScript, Snapshots

KEY = "rollout-1/migrate"


class Database(Migrates, Snapshots, Protocol):
    """A driver that can rehearse: it needs a snapshot for that."""


@dataclass(frozen=True)
class Subject:
    """A driver of an empty database; ``build`` makes another one, ``ask`` runs SQL on the target itself
    and returns all rows. ``drop_index`` is how its SQL drops an index of ``orders``. ``names_indexes``: its
    queries may, so that none may go."""

    build: Callable[[], Database]
    ask: Callable[[str], list[tuple[object, ...]]]
    drop_index: str = "DROP INDEX {index}"
    names_indexes: bool = False


def script(name: str, deploy: str, verify: str, revert: str) -> MigrationScript:
    return MigrationScript(name, digest((name, deploy, verify, revert)), deploy, verify, revert)


ORDERS = script(
    "0001_orders",
    "CREATE TABLE orders (id integer PRIMARY KEY, note text NOT NULL); -- the first\n"
    "CREATE INDEX orders_by_note ON orders (note);",
    "SELECT id, note FROM orders WHERE 1 = 0;",
    "DROP TABLE orders;",
)
GIFTS = script(
    "0002_gifts",
    "ALTER TABLE orders ADD COLUMN gift text;\nCREATE TABLE gifts (id integer PRIMARY KEY);",
    "SELECT gift FROM orders WHERE 1 = 0; SELECT id FROM gifts WHERE 1 = 0;",
    "DROP TABLE gifts;\nALTER TABLE orders DROP COLUMN gift;",
)


class MigratesConformance:
    """The subclass gives ``subject``."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    def test_it_says_that_it_migrates(self, subject: Subject) -> None:
        assert isinstance(subject.build(), Migrates)

    def test_a_fresh_database_had_no_migration(self, subject: Subject) -> None:
        assert subject.build().applied() == ()

    def test_deployed_migrations_are_known_oldest_first(self, subject: Subject) -> None:
        subject.build().deploy(ORDERS, KEY)
        subject.build().deploy(GIFTS, KEY)
        assert subject.build().applied() == ((ORDERS.name, ORDERS.digest), (GIFTS.name, GIFTS.digest))
        subject.ask("INSERT INTO orders VALUES (1, 'a', 'b')")

    def test_a_deployed_migration_is_left_alone(self, subject: Subject) -> None:
        driver = subject.build()
        driver.deploy(ORDERS, KEY)
        subject.ask("INSERT INTO orders VALUES (1, 'kept')")
        driver.deploy(ORDERS, "another-key")
        assert driver.applied() == ((ORDERS.name, ORDERS.digest),)
        assert subject.ask("SELECT note FROM orders") == [("kept",)]

    def test_the_same_name_with_other_scripts_is_a_conflict(self, subject: Subject) -> None:
        driver = subject.build()
        driver.deploy(ORDERS, KEY)
        other = script(ORDERS.name, ORDERS.deploy + " ", ORDERS.verify, ORDERS.revert)
        for act in (driver.deploy, driver.revert):
            with pytest.raises(Conflict) as caught:
                act(other, KEY)
            assert ORDERS.digest in str(caught.value)
            assert other.digest in str(caught.value)

    def test_a_deploy_that_fails_leaves_nothing(self, subject: Subject) -> None:
        driver = subject.build()
        driver.deploy(ORDERS, KEY)
        before = driver.fingerprint()
        broken = script(
            "0002_broken", "CREATE TABLE half (id integer);\n\nDROP TABLE nowhere;", "", "SELECT 1"
        )
        with pytest.raises(Rejected) as caught:
            driver.deploy(broken, KEY)
        assert caught.value.cause is Cause.SCRIPT_ERROR
        assert "deploy.sql of 0002_broken" in str(caught.value)
        assert driver.fingerprint() == before
        assert [name for name, _ in driver.applied()] == [ORDERS.name]

    def test_a_verify_that_fails_leaves_nothing(self, subject: Subject) -> None:
        driver = subject.build()
        before = driver.fingerprint()
        wrong = script("0001_wrong", ORDERS.deploy, "SELECT missing FROM orders;", ORDERS.revert)
        with pytest.raises(Rejected) as caught:
            driver.deploy(wrong, KEY)
        assert caught.value.cause is Cause.SCRIPT_ERROR
        assert "verify.sql of 0001_wrong" in str(caught.value)
        assert driver.fingerprint() == before
        assert driver.applied() == ()

    def test_what_a_verify_writes_is_gone(self, subject: Subject) -> None:
        driver = subject.build()
        writes = script("0001_orders", ORDERS.deploy, "INSERT INTO orders VALUES (7, 'x');", ORDERS.revert)
        driver.deploy(writes, KEY)
        assert subject.ask("SELECT * FROM orders") == []

    @pytest.mark.parametrize("control", ["COMMIT", "begin", "ROLLBACK", "/* now */ Commit"])
    def test_transaction_control_in_a_script_is_refused(self, subject: Subject, control: str) -> None:
        driver = subject.build()
        evil = script("0001_evil", f"CREATE TABLE evil (id integer);\n{control};", "", "DROP TABLE evil")
        with pytest.raises(InvalidInput) as caught:
            driver.deploy(evil, KEY)
        assert "line 2" in str(caught.value)
        assert driver.applied() == ()

    def test_a_revert_takes_everything_back(self, subject: Subject) -> None:
        driver = subject.build()
        empty = driver.fingerprint()
        driver.deploy(ORDERS, KEY)
        first = driver.fingerprint()
        driver.deploy(GIFTS, KEY)
        assert len({empty, first, driver.fingerprint()}) == 3
        driver.revert(GIFTS, KEY)
        assert driver.fingerprint() == first
        driver.revert(ORDERS, KEY)
        assert driver.fingerprint() == empty
        assert driver.applied() == ()

    def test_a_reverted_migration_is_left_alone_and_can_come_again(self, subject: Subject) -> None:
        driver = subject.build()
        driver.revert(ORDERS, KEY)
        driver.deploy(ORDERS, KEY)
        driver.revert(ORDERS, KEY)
        driver.revert(ORDERS, KEY)
        driver.deploy(ORDERS, KEY)
        assert driver.applied() == ((ORDERS.name, ORDERS.digest),)

    def test_only_the_newest_is_reverted(self, subject: Subject) -> None:
        driver = subject.build()
        driver.deploy(ORDERS, KEY)
        driver.deploy(GIFTS, KEY)
        with pytest.raises(Conflict, match=GIFTS.name):
            driver.revert(ORDERS, KEY)
        assert len(driver.applied()) == 2

    @pytest.mark.parametrize("revert", ["", " \n-- nothing\n/* at all */ ;", "DROP TABLE nowhere;"])
    def test_a_revert_that_is_empty_or_fails_leaves_it_deployed(self, subject: Subject, revert: str) -> None:
        driver = subject.build()
        migration = script("0001_orders", ORDERS.deploy, ORDERS.verify, revert)
        driver.deploy(migration, KEY)
        before = driver.fingerprint()
        with pytest.raises(Rejected) as caught:
            driver.revert(migration, KEY)
        assert caught.value.cause is Cause.SCRIPT_ERROR
        assert driver.fingerprint() == before
        assert len(driver.applied()) == 1

    def test_the_fingerprint_is_of_the_schema_and_not_of_the_rows(self, subject: Subject) -> None:
        driver = subject.build()
        driver.deploy(ORDERS, KEY)
        before = driver.fingerprint()
        subject.ask("INSERT INTO orders VALUES (1, 'a')")
        assert driver.fingerprint() == before == subject.build().fingerprint()
        subject.ask(subject.drop_index.format(index="orders_by_note"))
        assert driver.fingerprint() != before


class RehearsesConformance:
    """Rehearsals, for drivers that take snapshots too; the subclass gives ``subject``."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    @pytest.fixture
    def driver(self, subject: Subject) -> Database:
        """Of a database with one migration and three orders."""
        driver = subject.build()
        driver.deploy(ORDERS, KEY)
        for number in range(3):
            subject.ask(f"INSERT INTO orders VALUES ({number}, 'note {number}')")
        return driver

    def test_a_good_migration_leaves_no_difference(self, driver: Database, subject: Subject) -> None:
        before = driver.fingerprint()
        seen = driver.rehearse(driver.snapshot("r"), [GIFTS], [ORDERS])
        assert seen.difference == ""
        assert seen.fingerprint_before == seen.fingerprint_after == before
        assert seen.old_runs_on_new
        assert seen.deploy_seconds.keys() == seen.revert_seconds.keys() == {GIFTS.name}
        assert all(s > 0 for s in (*seen.deploy_seconds.values(), *seen.revert_seconds.values()))
        assert driver.applied() == ((ORDERS.name, ORDERS.digest),)
        assert driver.fingerprint() == before
        assert subject.ask("SELECT count(*) FROM orders") == [(3,)]

    def test_old_code_that_does_not_run_on_the_new_schema_is_told(self, driver: Database) -> None:
        rename = script(
            "0002_rename",
            "ALTER TABLE orders RENAME COLUMN note TO remark;",
            "SELECT remark FROM orders WHERE 1 = 0;",
            "ALTER TABLE orders RENAME COLUMN remark TO note;",
        )
        seen = driver.rehearse(driver.snapshot("r"), [rename], [ORDERS])
        assert not seen.old_runs_on_new
        assert seen.difference == ""

    def test_what_a_later_standing_migration_took_away_says_nothing(self, driver: Database) -> None:
        rename = script(
            "0002_rename",
            "ALTER TABLE orders RENAME COLUMN note TO remark;",
            "SELECT remark FROM orders WHERE 1 = 0;",
            "ALTER TABLE orders RENAME COLUMN remark TO note;",
        )
        more = script(
            "0003_more", "CREATE TABLE more (id integer);", "SELECT id FROM more;", "DROP TABLE more;"
        )
        driver.deploy(rename, KEY)
        snapshot = driver.snapshot("r")
        assert driver.rehearse(snapshot, [more], [ORDERS, rename]).old_runs_on_new
        assert not driver.rehearse(snapshot, [more], [ORDERS]).old_runs_on_new, "the newest one counts"

    def test_what_a_revert_leaves_is_named(self, driver: Database) -> None:
        leaves = script("0002_gifts", GIFTS.deploy, GIFTS.verify, "DROP TABLE gifts;")
        seen = driver.rehearse(driver.snapshot("r"), [leaves], [ORDERS])
        assert seen.difference == "column orders.gift was not removed"
        assert seen.fingerprint_before != seen.fingerprint_after

    def test_rows_that_a_revert_takes_along_are_named(self, driver: Database) -> None:
        greedy = script("0002_gifts", GIFTS.deploy, GIFTS.verify, GIFTS.revert + " DELETE FROM orders;")
        seen = driver.rehearse(driver.snapshot("r"), [greedy], [ORDERS])
        assert seen.difference == "table orders has other rows: it had 3, and has 0"
        assert seen.fingerprint_before == seen.fingerprint_after

    def test_a_revert_that_changes_nothing_is_refused_with_the_difference(self, driver: Database) -> None:
        useless = script("0002_gifts", GIFTS.deploy, GIFTS.verify, "SELECT 1;")
        with pytest.raises(Rejected, match="table gifts was not removed"):
            driver.rehearse(driver.snapshot("r"), [useless], [ORDERS])

    def test_a_revert_of_rows_that_changes_nothing_is_refused(self, driver: Database) -> None:
        useless = script("0002_upper", "UPDATE orders SET note = 'changed';", "SELECT 1;", "SELECT 1;")
        with pytest.raises(Rejected, match="changes nothing"):
            driver.rehearse(driver.snapshot("r"), [useless], [ORDERS])

    @pytest.mark.parametrize(
        ("deploy", "revert"), [("DROP TABLE nowhere;", "SELECT 1;"), (GIFTS.deploy, "DROP TABLE nowhere;")]
    )
    def test_scripts_that_fail_are_refused(self, driver: Database, deploy: str, revert: str) -> None:
        before = driver.fingerprint()
        with pytest.raises(Rejected) as caught:
            driver.rehearse(driver.snapshot("r"), [script("0002_bad", deploy, "SELECT 1;", revert)], [ORDERS])
        assert caught.value.cause is Cause.SCRIPT_ERROR
        assert driver.fingerprint() == before

    def test_several_are_reverted_newest_first(self, driver: Database) -> None:
        more = script(
            "0003_more", "CREATE TABLE more (id integer);", "SELECT id FROM more;", "DROP TABLE more;"
        )
        seen = driver.rehearse(driver.snapshot("r"), [GIFTS, more], [ORDERS])
        assert seen.difference == ""
        assert list(seen.revert_seconds) == [more.name, GIFTS.name]
