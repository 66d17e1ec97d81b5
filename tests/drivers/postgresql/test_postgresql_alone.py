"""One statement that runs in no transaction: done once, whatever dies in between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.drivers.postgresql import alone
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.settings import PostgresqlSettings
from lastgood.testing.conformance_migrates import KEY, ORDERS, script
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until

MARK = "-- lastgood: no transaction\n"
BUILD = f"{MARK}CREATE INDEX CONCURRENTLY slow ON orders (note);"
INDEX = script(
    "0002_index", BUILD, "SELECT 1 / count(*) FROM pg_class WHERE relname = 'slow';",
    f"{MARK}DROP INDEX CONCURRENTLY slow;",
)  # fmt: skip
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('slow')"


@pytest.fixture
def shop(emptied_lab: Lab) -> Lab:
    emptied_lab.driver().deploy(ORDERS, KEY)
    emptied_lab.ask("INSERT INTO orders SELECT n, 'same' FROM generate_series(1, 3) n")
    return emptied_lab


def server_of(lab: Lab) -> Server:
    return Server(PostgresqlSettings.read({"url": lab.server.url(lab.name)}), lab.tools.vault, lab.name)


def names(lab: Lab) -> list[str]:
    return [name for name, _ in lab.driver().applied()]


def test_there_and_back_each_once(shop: Lab) -> None:
    driver = shop.driver()
    before = driver.fingerprint()
    for key in (KEY, "again"):
        driver.deploy(INDEX, key)
        assert (shop.ask(VALID), names(shop)) == ([(True,)], ["0001_orders", "0002_index"])
    for key in ("back", "back again"):
        driver.revert(INDEX, key)
        assert (driver.fingerprint(), names(shop)) == (before, ["0001_orders"])
    assert shop.ask("SELECT count(*) FROM lastgood.attempts") == [(0,)]


def test_what_fails_leaves_nothing(shop: Lab) -> None:
    unique = script("0002_index", BUILD.replace("INDEX", "UNIQUE INDEX", 1), "SELECT 1", "DROP INDEX slow")
    with pytest.raises(Rejected, match="could not create unique index"):
        shop.driver().deploy(unique, KEY)
    refused = script("0002_index", BUILD, "SELECT 1 / 0", "DROP INDEX slow")
    with pytest.raises(Rejected, match="division by zero"):
        shop.driver().deploy(refused, KEY)
    assert (shop.ask(VALID), names(shop)) == ([], ["0001_orders"])
    assert shop.ask("SELECT count(*) FROM lastgood.attempts") == [(0,)]


def test_an_index_of_somebody_else_is_left_alone(shop: Lab) -> None:
    shop.ask("CREATE INDEX slow ON orders (id)")
    with pytest.raises(Rejected, match="no attempt of 0002_index made it"):
        shop.driver().deploy(INDEX, KEY)
    assert shop.ask(VALID) == [(True,)]


def test_a_killed_build_is_built_again(shop: Lab, tmp_path: Path) -> None:
    """It waits for another transaction, with an INVALID index there, when its process is killed."""
    url = shop.server.url(shop.name)
    with shop.session(autocommit=False) as other:
        other.execute("UPDATE orders SET note = 'x' WHERE id = 1")
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.drivers.postgresql.migrate_alone", url, str(tmp_path), BUILD]
        )
        until(lambda: shop.ask(VALID) == [(False,)])
        worker.kill()
        worker.wait()
        building = "FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY slow%'"
        shop.ask(f"SELECT pg_terminate_backend(pid) {building}")
        until(lambda: shop.ask(f"SELECT count(*) {building}") == [(0,)])
        other.commit()
    assert shop.ask(VALID) == [(False,)]
    again = script("0001_slow", BUILD, "SELECT 1;", "DROP TABLE slow;")
    shop.driver().deploy(again, KEY)
    assert (shop.ask(VALID), names(shop)) == ([(True,)], ["0001_orders", "0001_slow"])


PARTS = (
    "CREATE TABLE y (n int) PARTITION BY RANGE (n);CREATE TABLE y1 PARTITION OF y FOR VALUES FROM (1) TO (2)"
)
DETACH = f"{MARK}ALTER TABLE y DETACH PARTITION y1 CONCURRENTLY"
ATTACH = (
    "ALTER TABLE y ATTACH PARTITION y1 FOR VALUES FROM (1) TO (2); ALTER TABLE y1 DROP CONSTRAINT y1_n_check"
)
DROP = f"{MARK}DROP INDEX CONCURRENTLY old"
NEW = "CREATE UNIQUE INDEX old ON orders (id)"


@pytest.mark.parametrize(
    ("deploy", "revert"),
    [
        (DETACH, ATTACH), (DROP, NEW), (DROP, MARK + NEW.replace("INDEX", "INDEX CONCURRENTLY")),
        (BUILD, f"{MARK}DROP INDEX CONCURRENTLY slow"), (BUILD, "DROP INDEX slow"),
    ],
    ids=["detach", "drop", "drop alone", "create", "create and plain drop"],
)  # fmt: skip
def test_what_no_revision_tells_of_is_undone(shop: Lab, tmp_path: Path, deploy: str, revert: str) -> None:
    """Its process dies between the statement and our COMMIT, then the way back comes; or verify.sql fails."""
    shop.ask(f"{PARTS}; {NEW}")
    driver = shop.driver()
    before = driver.fingerprint()
    refused = script("0002_refused", deploy, "SELECT 1 / 0", revert)
    with pytest.raises(Rejected, match="division by zero"):
        driver.deploy(refused, KEY)
    assert (driver.fingerprint(), names(shop)) == (before, ["0001_orders"])
    url = shop.server.url(shop.name)
    with shop.session(autocommit=False) as other:
        other.execute("LOCK TABLE lastgood.revisions IN SHARE MODE")
        worker = subprocess.Popen(
            [
                sys.executable, "-m", "tests.drivers.postgresql.migrate_alone", url, str(tmp_path), deploy,
                revert,
            ]
        )  # fmt: skip
        waiting = (
            "FROM pg_stat_activity WHERE query LIKE 'INSERT INTO lastgood.revisions%' "
            "AND wait_event_type = 'Lock'"
        )
        until(lambda: shop.ask(f"SELECT count(*) {waiting}") == [(1,)])
        worker.kill()
        worker.wait()
        shop.ask(f"SELECT pg_terminate_backend(pid) {waiting}")
        until(lambda: shop.ask(f"SELECT count(*) {waiting}") == [(0,)])
    assert driver.fingerprint() != before
    gone = script("0001_slow", deploy, "SELECT 1;", revert)
    for key in ("back", "back again"):
        driver.revert(gone, key)
        assert (driver.fingerprint(), names(shop)) == (before, ["0001_orders"])
        assert shop.ask("SELECT count(*) FROM lastgood.attempts") == [(0,)]
    driver.deploy(gone, "again")
    assert driver.fingerprint() != before


def test_a_detach_that_gave_up_waiting_is_taken_back(shop: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "PATIENCE", 1)
    shop.ask(PARTS)
    detach = script("0002_detach", DETACH, "SELECT 1", ATTACH)
    before = shop.driver().fingerprint()
    pending = "SELECT inhdetachpending FROM pg_inherits WHERE inhparent = 'y'::regclass"
    with shop.session(autocommit=False) as reader:
        reader.execute("SELECT * FROM y")
        with pytest.raises(Rejected) as refused:
            shop.driver().deploy(detach, KEY)
        assert (refused.value.cause, shop.ask(pending)) == (Cause.TABLE_LOCK, [(True,)])
    shop.driver().revert(detach, "back")
    assert (shop.driver().fingerprint(), shop.ask(pending)) == (before, [(False,)])
    assert shop.ask("SELECT count(*) FROM lastgood.attempts") == [(0,)]


def test_a_way_back_that_dies_does_not_leave_the_revision_alone(shop: Lab) -> None:
    """The index is dropped, its revision is not removed: deploying again has it again."""
    driver = shop.driver()
    driver.deploy(INDEX, KEY)
    begun = alone.Alone(server_of(shop), INDEX, "revert.sql", alone.single(INDEX.revert, "revert.sql"))
    begun.run()
    assert shop.ask(VALID) == []
    driver.deploy(INDEX, "again")
    assert (shop.ask(VALID), names(shop)) == ([(True,)], ["0001_orders", "0002_index"])
    assert shop.ask("SELECT count(*) FROM lastgood.attempts") == [(0,)]


def test_a_note_vouches_only_for_what_it_names(shop: Lab) -> None:
    """The script is changed after an attempt: to the name of an index that somebody else made."""
    alone.Alone(server_of(shop), INDEX, "deploy.sql", alone.single(BUILD, "deploy.sql")).run()
    shop.ask("CREATE INDEX other ON orders (id)")
    renamed = script("0002_index", BUILD.replace("slow", "other"), "SELECT 1", "DROP INDEX other")
    with pytest.raises(Rejected, match="no attempt of 0002_index made it"):
        shop.driver().deploy(renamed, KEY)
    found = shop.ask("SELECT indexdef FROM pg_indexes WHERE indexname IN ('other', 'slow')")
    assert found == [("CREATE INDEX other ON public.orders USING btree (id)",)]
    shop.driver().revert(renamed, "back")
    assert shop.ask("SELECT count(*) FROM pg_indexes WHERE indexname = 'other'") == [(1,)]


def test_a_partition_that_is_half_detached_is_detached_whole(shop: Lab) -> None:
    shop.ask(PARTS)
    detach = script("0002_detach", DETACH, "SELECT 1", ATTACH)
    before = shop.driver().fingerprint()
    with shop.session(autocommit=False) as reader, shop.session() as half:
        reader.execute("SELECT * FROM y")
        half.execute("SET statement_timeout = '200ms'")
        with pytest.raises(Exception, match="statement timeout"):
            half.execute("ALTER TABLE y DETACH PARTITION y1 CONCURRENTLY")
        reader.commit()
    assert shop.ask("SELECT inhdetachpending FROM pg_inherits WHERE inhparent = 'y'::regclass") == [(True,)]
    shop.driver().deploy(detach, KEY)
    assert shop.ask("SELECT count(*) FROM pg_inherits WHERE inhparent = 'y'::regclass") == [(0,)]
    shop.driver().revert(detach, "back")
    assert shop.driver().fingerprint() == before


@pytest.mark.parametrize(
    "deploy",
    [
        f"{BUILD} SELECT 1;", f"{MARK}SELECT 1;", f"{MARK}CREATE INDEX CONCURRENTLY ON orders (note)",
        f"{MARK}VACUUM orders", BUILD.removeprefix(MARK),
    ],
    ids=["company", "another kind", "no name", "vacuum", "no mark"],
)  # fmt: skip
def test_what_can_not_be_tried_again_is_refused(shop: Lab, deploy: str) -> None:
    with pytest.raises(InvalidInput, match=r"transaction"):
        shop.driver().deploy(script("0002_index", deploy, "SELECT 1", "SELECT 1"), KEY)
