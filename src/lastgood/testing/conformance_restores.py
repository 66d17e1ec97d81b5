"""What every driver must keep that goes back to a snapshot with what was written since; subclass it and give
the fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

from lastgood.domain.errors import Rejected
from lastgood.domain.restore_point import Snapshot
from lastgood.ports.drivers import Migrates, Snapshots
from lastgood.ports.restoring import Captures, Restores
from lastgood.ports.warm import KeepsWarm
from lastgood.testing.conformance_migrates import KEY, script

SHOP = script(
    "0001_shop",
    "CREATE TABLE items (id integer PRIMARY KEY, name text, price integer);\n"
    "CREATE TABLE visits (id integer PRIMARY KEY, page text);\n"
    "INSERT INTO items VALUES (1, 'one', 10), (2, 'two', 20), (3, 'three', 30);",
    "SELECT id, name, price FROM items WHERE 1 = 0;",
    "DROP TABLE visits; DROP TABLE items;",
)
SPOILS = script("0002_spoils", "UPDATE items SET price = 0;", "SELECT 1;", "UPDATE items SET price = 1;")
ITEMS = "SELECT id, name, price FROM items ORDER BY id"


class Database(Migrates, Snapshots, Captures, Restores, Protocol):
    """A driver with all it takes."""


@dataclass(frozen=True)
class Subject:
    """A driver of an empty database; ``build`` makes another one, ``ask`` runs SQL on the target itself
    and returns all rows; ``databases`` are the names of what lies beside it and itself.
    """

    build: Callable[[], Database]
    ask: Callable[[str], list[tuple[object, ...]]]
    databases: Callable[[], list[str]]


class RestoresConformance:
    """The subclass gives ``subject``."""

    @pytest.fixture
    def subject(self) -> Subject:
        raise NotImplementedError

    @pytest.fixture
    def cut(self, subject: Subject) -> Snapshot:
        """Taken before a migration spoils the prices and the shop goes on."""
        driver = subject.build()
        driver.deploy(SHOP, KEY)
        taken = driver.capture("cut")
        driver.deploy(SPOILS, KEY)
        subject.ask("INSERT INTO items VALUES (4, 'four', 40)")
        subject.ask("UPDATE items SET name = 'ONE' WHERE id = 1")
        subject.ask("DELETE FROM items WHERE id = 3")
        subject.ask("INSERT INTO visits VALUES (1, '/')")
        return taken

    def go_back(self, subject: Subject, cut: Snapshot, *keep: str) -> str:
        driver = subject.build()
        driver.refuse_restore(cut, keep)
        driver.prepare_copy(cut, "r")
        driver.carry_over(cut, "r", keep)
        return driver.swap(cut, "r", keep).failed

    def test_it_says_what_it_can(self, subject: Subject) -> None:
        driver = subject.build()
        assert isinstance(driver, Captures)
        assert isinstance(driver, Restores)
        assert driver.capture_obstacle() is None

    def test_the_shop_is_told_apart_from_the_migration(self, subject: Subject, cut: Snapshot) -> None:
        seen = subject.build().writes_since(cut, ())
        assert seen.complete, seen.reasons
        counts = {t.table: (t.inserted, t.updated, t.deleted) for t in seen.tables}
        assert counts == {"items": (1, 1, 1), "visits": (1, 0, 0)}
        assert seen.lost == ()
        assert [t.table for t in subject.build().writes_since(cut, ("items",)).lost] == ["visits"]

    def test_the_data_as_it_was_with_what_was_written_since(self, subject: Subject, cut: Snapshot) -> None:
        self.go_back(subject, cut)
        assert subject.ask(ITEMS) == [(1, "ONE", 10), (2, "two", 20), (4, "four", 40)]
        assert subject.ask("SELECT count(*) FROM visits") == [(1,)]
        assert [name for name, _ in subject.build().applied()] == [SHOP.name]
        assert subject.build().fingerprint() == cut.fingerprint

    def test_what_is_not_kept_stays_in_the_failed_one(self, subject: Subject, cut: Snapshot) -> None:
        failed = self.go_back(subject, cut, "items")
        assert subject.ask("SELECT count(*) FROM visits") == [(0,)]
        assert failed in subject.databases()

    def test_carried_over_and_swapped_twice_is_once(self, subject: Subject, cut: Snapshot) -> None:
        driver = subject.build()
        copy = driver.prepare_copy(cut, "r")
        assert subject.build().prepare_copy(cut, "r") == copy
        for _ in range(2):
            driver.carry_over(cut, "r", ())
        subject.ask("INSERT INTO items VALUES (5, 'five', 50)")
        swapped = driver.swap(cut, "r", ())
        subject.ask("INSERT INTO items VALUES (6, 'six', 60)")
        again = subject.build().swap(cut, "r", ())
        assert (again.failed, again.salvage.carried) == (swapped.failed, swapped.salvage.carried)
        assert [row[0] for row in subject.ask(ITEMS)] == [1, 2, 4, 5, 6]

    def test_abandoned_it_is_as_it_was(self, subject: Subject, cut: Snapshot) -> None:
        before, beside = subject.ask(ITEMS), sorted(subject.databases())
        driver = subject.build()
        driver.prepare_copy(cut, "r")
        driver.carry_over(cut, "r", ())
        for _ in range(2):
            assert not subject.build().abandon("r")
        assert sorted(subject.databases()) == beside
        assert subject.ask(ITEMS) == before
        assert subject.build().writes_since(cut, ()).complete, "another restore can be begun"

    def test_abandoned_after_the_swap_it_stays(self, subject: Subject, cut: Snapshot) -> None:
        failed = self.go_back(subject, cut)
        assert subject.build().abandon("r"), "it is told that there was a swap"
        assert (4, "four", 40) in subject.ask(ITEMS)
        assert failed in subject.databases()

    def test_ended_nothing_is_known(self, subject: Subject, cut: Snapshot) -> None:
        for _ in range(2):
            subject.build().end_capture(cut)
        seen = subject.build().writes_since(cut, ())
        assert not seen.complete
        assert seen.reasons

    def test_the_newer_capture_ends_the_older(self, subject: Subject, cut: Snapshot) -> None:
        newer = subject.build().capture("newer")
        assert subject.build().capture("newer") == newer
        assert subject.build().writes_since(newer, ()).complete
        assert not subject.build().writes_since(cut, ()).complete

    def test_a_table_that_is_not_there_is_refused(self, subject: Subject, cut: Snapshot) -> None:
        with pytest.raises(Rejected, match="nosuch"):
            subject.build().refuse_restore(cut, ("nosuch",))


class Warm(Database, KeepsWarm, Protocol):
    """One that can have a copy stand by."""


@dataclass(frozen=True)
class WarmSubject:
    """``subject`` of a driver that keeps warm; ``touch`` writes into a copy as somebody would who looks into
    it.
    """

    build: Callable[[], Warm]
    ask: Callable[[str], list[tuple[object, ...]]]
    databases: Callable[[], list[str]]
    touch: Callable[[str], None]


class KeepsWarmConformance:
    """What a driver must keep that has copies stand by. The subclass gives ``subject``."""

    @pytest.fixture
    def subject(self) -> WarmSubject:
        raise NotImplementedError

    @pytest.fixture
    def cut(self, subject: WarmSubject) -> Snapshot:
        driver = subject.build()
        driver.deploy(SHOP, KEY)
        taken = driver.capture("cut")
        assert driver.standing_by(taken) is None
        assert driver.writes_since(taken, ()).warm is None
        driver.warm_copy(taken)
        driver.deploy(SPOILS, KEY)
        subject.ask("INSERT INTO items VALUES (4, 'four', 40)")
        return taken

    def go_back(self, subject: WarmSubject, cut: Snapshot) -> None:
        driver = subject.build()
        driver.refuse_restore(cut, ())
        driver.prepare_copy(cut, "r")
        driver.carry_over(cut, "r", ())
        driver.swap(cut, "r", ())
        assert subject.ask(ITEMS) == [(1, "one", 10), (2, "two", 20), (3, "three", 30), (4, "four", 40)]
        assert driver.fingerprint() == cut.fingerprint

    def test_it_says_what_it_can_and_what_stands_by(self, subject: WarmSubject, cut: Snapshot) -> None:
        driver = subject.build()
        assert isinstance(driver, KeepsWarm)
        assert driver.copy_room().size > 0
        there = driver.standing_by(cut)
        assert there is not None
        assert (there.usable, there.size > 0) == (True, True)
        assert driver.writes_since(cut, ()).warm == there
        assert there.name in subject.databases()

    def test_made_twice_it_is_one(self, subject: WarmSubject, cut: Snapshot) -> None:
        before = subject.databases()
        assert subject.build().warm_copy(cut).usable
        assert subject.databases() == before

    def test_a_restore_takes_it(self, subject: WarmSubject, cut: Snapshot) -> None:
        there = subject.build().standing_by(cut)
        assert there is not None
        driver = subject.build()
        for _ in range(2):
            driver.prepare_copy(cut, "r")
        assert there.name not in subject.databases()
        self.go_back(subject, cut)

    def test_touched_it_is_told_and_not_used(self, subject: WarmSubject, cut: Snapshot) -> None:
        there = subject.build().standing_by(cut)
        assert there is not None
        subject.touch(there.name)
        seen = subject.build().standing_by(cut)
        assert seen is not None
        assert not seen.usable
        assert there.name in str(seen.trouble)
        self.go_back(subject, cut)

    def test_touched_it_is_made_anew(self, subject: WarmSubject, cut: Snapshot) -> None:
        there = subject.build().standing_by(cut)
        assert there is not None
        subject.touch(there.name)
        assert subject.build().warm_copy(cut).usable
        self.go_back(subject, cut)

    def test_given_up_it_is_gone_and_the_file_is_there(self, subject: WarmSubject, cut: Snapshot) -> None:
        driver = subject.build()
        driver.prepare_copy(cut, "first")
        driver.carry_over(cut, "first", ())
        assert not driver.abandon("first")
        assert driver.standing_by(cut) is None
        self.go_back(subject, cut)

    def test_it_ends_with_the_capture(self, subject: WarmSubject, cut: Snapshot) -> None:
        there = subject.build().standing_by(cut)
        assert there is not None
        for _ in range(2):
            subject.build().end_capture(cut)
        assert there.name not in subject.databases()
        with pytest.raises(Rejected):
            subject.build().warm_copy(cut)
