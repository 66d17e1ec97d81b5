"""Which copy of a database goes into a restore bundle."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lastgood.actions.bundling.databases import BundledDatabase, bundled_databases, refuse_elsewhere
from lastgood.domain.errors import InvalidInput, NotReversible, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.restore_point import RestorePoint, Snapshot
from lastgood.ports.bundles import DatabasePart
from lastgood.ports.drivers import MigrationScript
from lastgood.testing.fake_database import FakeDatabase
from lastgood.testing.fake_sql import revisions
from tests.actions.restoring import RESOURCE, SPOILS, Shop
from tests.actions.theatre import UNIT, Theatre


class Bundling(FakeDatabase):
    """BundlesDatabases: its dumps are databases themselves."""

    def snapshot_migrations(self, snapshot: Snapshot) -> tuple[str, ...]:
        if not Path(snapshot.path).exists():
            raise Rejected(N_("snapshot {name} is missing or damaged"), name=snapshot.id)
        connection = sqlite3.connect(snapshot.path)
        found = tuple(name for name, _ in revisions(connection))
        connection.close()
        return found

    def bundle_database(
        self, snapshot: Snapshot, forward: Sequence[MigrationScript], back: Sequence[MigrationScript]
    ) -> DatabasePart:
        said = f"{snapshot.id}: {[m.name for m in forward]} {[m.name for m in back]}"
        return DatabasePart({"restore.sh": said.encode()}, (), Path(snapshot.path), 1, lambda to: None)


class Bundled:
    """A unit on ``release``, whose restore point is to be bundled."""

    def __init__(self, theatre: Theatre) -> None:
        self.theatre, self.shop = theatre, Shop(theatre)
        self.database = Bundling(self.shop.database.path, self.shop.database.directory, RESOURCE)
        theatre.drivers.built[UNIT, "database"] = self.database
        self.release = self.shop.good

    def kept(self, key: str, hours: float) -> Snapshot:
        at = self.theatre.clock.now() - timedelta(hours=hours)
        snapshot = replace(self.database.snapshot(key), created_at=at)
        with self.theatre.store.write() as unit:
            unit.points.add_snapshot(snapshot)
        return snapshot

    def said(self, release: Release | None = None) -> str:
        release = release or self.release
        with self.theatre.store.read() as unit:
            point: RestorePoint = unit.points.list(UNIT)[0]
        tools = self.theatre
        (found,) = bundled_databases(tools.store, tools.drivers, tools.objects, tools.clock, release, point)
        return found.part.files["restore.sh"].decode()


@pytest.fixture
def bundled(theatre: Theatre) -> Bundled:
    return Bundled(theatre)


def test_one_of_its_schema_and_of_today_is_taken_as_it_is(bundled: Bundled) -> None:
    taken = bundled.kept("today", 3)
    assert bundled.said() == f"{taken.id}: [] ['0001_init']"


def test_an_older_one_or_one_that_lacks_a_migration_is_taken_anew(bundled: Bundled) -> None:
    old = bundled.kept("yesterday", 30)
    assert not bundled.said().startswith(old.id)
    with bundled.theatre.store.read() as unit:
        newest = unit.points.snapshots(RESOURCE)[0]
    assert newest.expires
    assert bundled.said().startswith(newest.id), "and that one is taken as it is"


def test_a_server_that_does_not_answer_is_taken_back_to_what_is_kept(bundled: Bundled) -> None:
    kept = bundled.kept("before", 30)
    gone = bundled.kept("gone", 1)
    Path(gone.path).unlink()
    init, prices = bundled.shop.bad.databases[0].migrations
    bundled.database.deploy(bundled.shop.script(prices, SPOILS), "k")
    beyond = bundled.kept("beyond", 40)
    assert beyond.id != kept.id
    bundled.database.fail_next("applied", Unreachable(N_("it does not answer")))
    assert bundled.said() == f"{kept.id}: [] ['{init.name}']"
    bundled.database.fail_next("applied", Unreachable(N_("it does not answer")))
    said = bundled.said(bundled.shop.bad)
    assert said == f"{beyond.id}: [] ['0002_prices', '0001_init']"


def test_the_scripts_that_a_copy_lacks_go_along(bundled: Bundled) -> None:
    kept = bundled.kept("before", 30)
    bundled.database.fail_next("applied", Unreachable(N_("it does not answer")))
    assert bundled.said(bundled.shop.bad) == f"{kept.id}: ['0002_prices'] ['0002_prices', '0001_init']"


def test_without_any_copy_there_is_no_bundle(bundled: Bundled) -> None:
    _, prices = bundled.shop.bad.databases[0].migrations
    bundled.database.deploy(bundled.shop.script(prices, SPOILS), "k")
    with pytest.raises(NotReversible, match="there is no snapshot of shop@prod"):
        bundled.said()


def test_a_copy_does_not_leave_its_place(tmp_path: Path) -> None:
    place, away = tmp_path / "eu", tmp_path / "us"
    part = DatabasePart({}, (), tmp_path / "dump", 1, lambda to: None, place)
    refuse_elsewhere([BundledDatabase(RESOURCE, part)], place / "bundles")
    with pytest.raises(InvalidInput, match="must not leave"):
        refuse_elsewhere([BundledDatabase(RESOURCE, part)], away)
    (tmp_path / "eu").mkdir()
    (place / "link").symlink_to(away)
    with pytest.raises(InvalidInput, match="must not leave"):
        refuse_elsewhere([BundledDatabase(RESOURCE, part)], place / "link")
