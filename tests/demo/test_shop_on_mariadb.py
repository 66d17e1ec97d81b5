"""The shop on a real MariaDB: each order is sold and shipped once, and its schema goes back and forth."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lastgood.demo import ledger
from lastgood.demo.shop.database import connect
from lastgood.domain.plan import Reversibility
from lastgood.domain.unit import UnitId
from lastgood.drivers.mariadb.driver import MariadbDriver, create
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.rehearsing import Journey, Journeys
from lastgood.testing.fake_files import FakeVault
from lastgood.testing.mariadb_server import MariadbServer, mariadb
from tests.demo.shop_process import DEMO, RunningShop, wait_for
from tests.demo.test_shop import order

FILES = DEMO / "estate_files"


def migration(name: str, *folders: str) -> MigrationScript:
    """The scripts as the estate has them: a later folder lies over an earlier one."""
    texts = {}
    for folder in folders:
        for path in (FILES / folder / "databases/shop/migrations" / name).glob("*.sql"):
            texts[path.stem] = path.read_text()
    return MigrationScript(name, name, texts["deploy"], texts["verify"], texts["revert"])


INIT = migration("0001_init", "first", "mariadb/first")
GIFTS = migration("0002_gift_notes", "second/add", "mariadb/second/add")

OLD, NEW = (
    Journey(folder, (FILES / "mariadb" / folder / "databases/shop/journey.sql").read_text())
    for folder in ("first", "second/add")
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbServer]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as started:
        started.ask("CREATE DATABASE shop")
        yield started


@pytest.fixture
def start(tmp_path: Path, server: MariadbServer) -> Iterator[Callable[..., RunningShop]]:
    running: list[RunningShop] = []

    def begin(role: str = "web", release: int = 1) -> RunningShop:
        directory = tmp_path / f"{role}{len(running)}"
        directory.mkdir()
        running.append(RunningShop(directory, server.url("shop"), role, release, ""))
        return running[-1]

    yield begin
    for shop in running:
        shop.stop(signal.SIGKILL)


def test_sells_ships_and_comes_back_from_release_two(
    start: Callable[..., RunningShop], server: MariadbServer, tmp_path: Path
) -> None:
    tools = SimpleNamespace(directory=tmp_path, vault=FakeVault())
    unit = UnitId("storefront", "prod", "us")
    driver = cast(MariadbDriver, create(unit, {"url": server.url("shop")}, cast(Any, tools)))
    driver.deploy(INIT, "key")
    first = driver.fingerprint()
    seen = driver.rehearse_writes(None, [GIFTS], [INIT], Journeys(NEW, (OLD,)))
    assert (str(seen.complaint), str(seen.untried), seen.difference) == ("", "", "")
    assert seen.additive
    driver.deploy(GIFTS, "key")
    shop, next_shop = start(), start(release=2)
    workers = [start("worker"), start("worker")]
    assert shop.ask("/healthz")[0] == 200
    assert "Stoneware mug" in shop.ask("/")[1]
    wanted = order(key="twice")
    assert shop.ask("/checkout", wanted) == shop.ask("/checkout", wanted)
    for number in range(8):
        assert next_shop.ask("/checkout", order(gift_note=f"Happy birthday, {number}"))[0] == 201
    with closing(connect(server.url("shop"))) as connection:
        rows = wait_for(lambda: _all_shipped(connection))
        assert [tuple(row[3:]) for row in rows] == [(1, 1)] * 9
    assert all(p.stop() == 0 for p in (next_shop, *workers))
    driver.revert(GIFTS, "back")
    assert driver.fingerprint() == first
    remarks = server.ask("SELECT remark FROM orders WHERE remark <> '' ORDER BY id", "shop")
    assert remarks == [(f"Gift note: Happy birthday, {number}",) for number in range(8)]
    assert shop.ask("/checkout", order())[0] == 201


def _all_shipped(connection: Any) -> list[Any]:
    rows = list(connection.execute(ledger.READ).fetchall())
    return rows if all(row[4] for row in rows) else []


def test_both_migrations_only_add(tmp_path: Path) -> None:
    tools = SimpleNamespace(directory=tmp_path, vault=FakeVault())
    settings = {"url": "mysql://shop@127.0.0.1/shop"}
    driver = cast(MariadbDriver, create(UnitId("storefront", "prod", "us"), settings, cast(Any, tools)))
    for scripts in (INIT, GIFTS):
        found = driver.classify(scripts)
        assert found.reversibility is Reversibility.EXACT, found
