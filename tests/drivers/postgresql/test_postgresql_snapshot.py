"""Snapshots, rehearsals and restores on real servers, beyond what every driver must keep."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.restore_point import Snapshot
from lastgood.sql import keeping
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def shop(lab: Lab) -> Lab:
    lab.driver().deploy(ORDERS, KEY)
    lab.ask("INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 100) n")
    return lab


def scratches(lab: Lab) -> list[str]:
    return [name for name in lab.databases() if name.startswith("lastgood_scratch_")]


def test_the_cut_is_one_moment_although_others_write(shop: Lab) -> None:
    shop.ask("CREATE TABLE a (n serial); CREATE TABLE b (n serial)")
    over = threading.Event()

    def write() -> None:
        with shop.session() as connection:
            while not over.is_set():
                connection.execute(
                    "BEGIN; INSERT INTO a DEFAULT VALUES; INSERT INTO b DEFAULT VALUES; COMMIT"
                )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: shop.ask("SELECT count(*) > 20 FROM a") == [(True,)])
        driver = shop.driver()
        taken = driver.snapshot("under load")
        assert driver.prove(taken).proven_at
    finally:
        over.set()
        writer.join()
    notes = json.loads(Path(taken.path).with_suffix(".json").read_text())
    assert notes["rows"]["public.a"] == notes["rows"]["public.b"] > 20
    assert notes["revisions"] == [[ORDERS.name, ORDERS.digest]]
    assert shop.ask(f"SELECT pg_current_wal_lsn() > '{taken.cut}'::pg_lsn") == [(True,)]


def test_no_scratch_database_stays(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.snapshot("r")
    driver.prove(taken)
    driver.rehearse(taken, [GIFTS], [ORDERS])
    bad = script("0002_bad", "SELECT nowhere;", "SELECT 1;", "SELECT 1;")
    with pytest.raises(Rejected):
        driver.rehearse(taken, [bad], [ORDERS])
    assert scratches(shop) == []


def test_what_a_crash_left_goes_with_those_who_still_fill_it(shop: Lab) -> None:
    """One whose maker lives stays, and one that somebody else made."""
    driver = shop.driver()
    taken = driver.snapshot("r")
    left, made, foreign = (f"lastgood_scratch_00000001_{end}" for end in ("0badcafe", "deadbeef", "facade00"))
    for name, comment in ((left, "lastgood scratch"), (made, "lastgood scratch"), (foreign, "mine, keep")):
        shop.ask(f"CREATE DATABASE {name}", name="postgres")
        shop.ask(f"COMMENT ON DATABASE {name} IS '{comment}'", name="postgres")
    try:
        with shop.session(left), shop.session() as maker:
            maker.execute(f"SELECT pg_advisory_lock(hashtextextended('{made}', 0))")
            driver.prove(taken)
            assert scratches(shop) == sorted([made, foreign])
        driver.prove(taken)
        assert scratches(shop) == [foreign]
    finally:
        for name in scratches(shop):
            shop.ask(f"DROP DATABASE {name}", name="postgres")


def test_killed_while_it_rehearses(shop: Lab) -> None:
    """The live database is as before, and the next one removes what it left."""
    driver = shop.driver()
    before = driver.fingerprint()
    taken = driver.snapshot("r")
    code = (
        "import sys; from pathlib import Path; from tests.drivers.postgresql.conftest import *\n"
        "from lastgood.testing.conformance_migrates import script\n"
        "driver = create(UNIT, {'url': sys.argv[1], 'resource': 'shop@prod/us'}, Tools(Path(sys.argv[2])))\n"
        "slow = script('0002_slow', 'SELECT pg_sleep(30)', 'SELECT 1', 'SELECT 1')\n"
        "driver.rehearse(driver.snapshot('r'), [slow], [])"
    )
    url, directory = shop.server.url(shop.name), str(shop.tools.directory)
    process = subprocess.Popen([sys.executable, "-c", code, url, directory], cwd=ROOT)
    until(lambda: shop.ask("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    left = scratches(shop)
    assert len(left) == 1
    assert driver.fingerprint() == before
    assert driver.rehearse(taken, [GIFTS], [ORDERS]).difference == ""
    assert scratches(shop) == []


def test_settings_of_the_database_hold_in_a_rehearsal_too(shop: Lab) -> None:
    shop.ask(f'ALTER DATABASE {shop.name} SET search_path = "$user", sales, public; CREATE SCHEMA sales')
    shop.ask(f"ALTER DATABASE {shop.name} SET my.flag = 'it''s on'")
    verify = (
        "SELECT 1 / (current_setting('search_path') = '\"$user\", sales, public')::int;"
        "SELECT 1 / (current_setting('my.flag') = 'it''s on')::int;"
    )
    checks = script("0002_checks", "CREATE TABLE checks (id int);", verify, "DROP TABLE checks;")
    assert shop.driver().rehearse(shop.driver().snapshot("r"), [checks], []).difference == ""


def test_a_locked_table_holds_a_snapshot_up_and_is_named(shop: Lab) -> None:
    with shop.session(application_name="vacuum-full", autocommit=False) as holder:
        holder.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Rejected) as caught:
            shop.driver().snapshot("locked")
        assert caught.value.cause is Cause.TABLE_LOCK
        assert list((shop.tools.directory / "snapshots").iterdir()) == []
    assert shop.driver().snapshot("locked").size > 0


def test_space_is_checked_first(shop: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "RESERVE", 1 << 60)
    with pytest.raises(Rejected, match=r"may need \d+ MiB, and \d+ MiB are free"):
        shop.driver().snapshot("huge")
    assert list((shop.tools.directory / "snapshots").iterdir()) == []


def test_a_directory_that_cannot_be_written(shop: Lab) -> None:
    (shop.tools.directory / "snapshots").write_text("a file is in the way")
    with pytest.raises(Rejected, match="can't be read or written"):
        shop.driver().snapshot("nowhere")


def test_tools_of_another_version_are_refused_and_named(shop: Lab) -> None:
    other = {15: "18", 18: "15"}
    major = int(str(shop.ask("SHOW server_version_num")[0][0])) // 10000
    directory = next(p for p in _bin_directories() if f" {other[major]}." in _version(p))
    with pytest.raises(InvalidInput) as caught:
        shop.driver(binaries=str(directory)).snapshot("x")
    assert str(directory / "pg_dump") in str(caught.value)
    assert f"version {other[major]}" in str(caught.value)
    assert f"version {major}" in str(caught.value.todo)


def _bin_directories() -> list[Path]:
    from lastgood.testing.postgres_server import debian_binaries, wheel_binaries

    return [debian_binaries(), wheel_binaries()]


def _version(directory: Path) -> str:
    done = subprocess.run(
        [str(directory / "pg_dump"), "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_stale_files_of_a_crash_are_no_snapshot(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.snapshot("one")
    directory = Path(taken.path).parent
    Path(taken.path).with_suffix(".json").unlink()
    (directory / f"{taken.id}.0badcafe.tmp").write_text("half")
    again = driver.snapshot("one")
    assert again.id == taken.id
    assert sorted(p.name for p in directory.iterdir()) == [f"{taken.id}.dump", f"{taken.id}.json"]


def test_a_snapshot_of_nobody(shop: Lab) -> None:
    ghost = Snapshot("../../etc/passwd", "shop", "/etc/passwd", "0/0", "sha256:0", datetime.now(UTC))
    shop.driver().discard(ghost)
    with pytest.raises(Rejected) as caught:
        shop.driver().prove(ghost)
    assert caught.value.cause is Cause.WRONG_PATH
    assert Path("/etc/passwd").exists()
