"""What every driver that keeps snapshots must keep; subclass it and give the fixture."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lastgood.domain.errors import Rejected
from lastgood.ports.drivers import Snapshots
from lastgood.testing.conformance_migrates import KEY, ORDERS, Database, Subject


class SnapshotsConformance:
    """The subclass gives ``subject``."""

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

    def test_it_says_that_it_keeps_snapshots(self, subject: Subject) -> None:
        assert isinstance(subject.build(), Snapshots)

    def test_a_snapshot_says_what_it_holds(self, driver: Database) -> None:
        taken = driver.snapshot("one")
        path = Path(taken.path)
        assert path.stat().st_size == taken.size > 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert taken.fingerprint == driver.fingerprint()
        assert taken.cut
        assert taken.proven_at is None
        assert datetime.now(UTC) - taken.created_at < timedelta(minutes=5)

    def test_the_same_key_is_the_same_snapshot(self, driver: Database, subject: Subject) -> None:
        first = driver.snapshot("one")
        subject.ask("DELETE FROM orders")
        assert subject.build().snapshot("one") == first
        assert subject.build().snapshot("two").id != first.id

    def test_nothing_but_the_snapshot_is_left_in_its_directory(self, driver: Database) -> None:
        path = Path(driver.snapshot("one").path)
        assert {p.stem for p in path.parent.iterdir()} == {path.stem}

    def test_a_good_one_is_proven(self, driver: Database, subject: Subject) -> None:
        taken = driver.snapshot("one")
        subject.ask("DELETE FROM orders")
        proven = driver.prove(taken)
        assert proven.proven_at is not None
        assert (proven.id, proven.cut, proven.fingerprint) == (taken.id, taken.cut, taken.fingerprint)
        assert subject.ask("SELECT count(*) FROM orders") == [(0,)]

    def test_a_damaged_one_is_not(self, driver: Database) -> None:
        taken = driver.snapshot("one")
        content = bytearray(Path(taken.path).read_bytes())
        content[len(content) // 2] ^= 0xFF
        Path(taken.path).write_bytes(bytes(content))
        with pytest.raises(Rejected, match="damaged"):
            driver.prove(taken)

    def test_discarded_it_is_gone(self, driver: Database) -> None:
        taken = driver.snapshot("one")
        driver.discard(taken)
        driver.discard(taken)
        assert not Path(taken.path).exists()
        with pytest.raises(Rejected, match="missing"):
            driver.prove(taken)
