"""What goes wrong while writes are captured: kills, lost slots, rights, servers set otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.salvage import TableWrites
from lastgood.drivers.postgresql import publication, snapshot
from lastgood.drivers.postgresql import slots as slots_module
from lastgood.drivers.postgresql.driver import PostgresqlDriver
from lastgood.sql import keeping
from tests.drivers.postgresql.capturing import SHOP, publications, slots, told
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until

ROOT = Path(__file__).parents[3]
FAILING: dict[str, tuple[Any, str]] = {
    "publish": (publication, "_note"),
    "dump": (snapshot.Snapshotter, "_dump_to"),
    "keep": (slots_module, "keep"),
    "write": (keeping.Cut, "write"),
}


def fail_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def named(snapshot_id: str) -> str:
    return publication.capture_name("shop@prod/us", snapshot_id)


@pytest.fixture
def shop(capturing_lab: Lab) -> Lab:
    capturing_lab.ask(SHOP)
    return capturing_lab


def test_transactions_that_run_are_waited_for_until_the_deadline(shop: Lab) -> None:
    driver = shop.driver(lock_deadline=0.6)
    with shop.session(application_name="month-end", autocommit=False) as writer:
        writer.execute("INSERT INTO orders VALUES (101)")
        with pytest.raises(Rejected) as caught:
            driver.capture("r1")
        assert caught.value.cause is Cause.TABLE_LOCK
        assert f"pid {writer.info.backend_pid} (postgres, month-end from 127.0.0.1" in str(caught.value)
        assert slots(shop) == publications(shop) == []
        assert list((shop.tools.directory / "snapshots").glob("*")) == []
    shop.ask("BEGIN; INSERT INTO orders VALUES (102); PREPARE TRANSACTION 'cash desk'")
    try:
        with pytest.raises(Rejected, match="prepared as cash desk since 20"):
            driver.capture("r1")
    finally:
        shop.ask("ROLLBACK PREPARED 'cash desk'")
    with shop.session(autocommit=False) as reader:
        reader.execute("SELECT * FROM orders")
        assert driver.capture("r1").size > 0, "who only reads holds nobody up"


@pytest.mark.parametrize("stage", FAILING)
def test_the_older_one_is_open_until_the_new_one_is_whole(
    shop: Lab, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another change that moves data and fails before it has its own way back takes nobody else's."""
    driver = shop.driver()
    older = driver.capture("r1")
    shop.ask("INSERT INTO orders VALUES (101)")
    with monkeypatch.context() as patched:
        patched.setattr(*FAILING[stage], fail_with(OSError(28, "disk full")))
        with pytest.raises(Exception, match="disk full"):
            driver.capture("r2")
    writes = driver.writes_since(older, [])
    assert (writes.complete, writes.tables) == (True, (TableWrites("orders", 1),))
    assert slots(shop) == publications(shop) == [named(older.id)]
    newer = driver.capture("r2")
    assert slots(shop) == publications(shop) == [named(newer.id)]


def test_killed_before_the_older_one_is_ended(shop: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = shop.driver()
    older = driver.capture("r1")
    with monkeypatch.context() as patched:
        kept = slots_module.drop
        patched.setattr(slots_module, "drop", lambda c, n: kept(c, n) if n != named(older.id) else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            driver.capture("r2")
    assert len(slots(shop)) == 2
    newer = driver.capture("r2")
    assert slots(shop) == publications(shop) == [named(newer.id)]


def test_killed_while_it_captures(shop: Lab) -> None:
    """Nothing keeps the log, and the next one works."""
    code = (
        "import sys, time; from pathlib import Path; from tests.drivers.postgresql.conftest import *\n"
        "from lastgood.drivers.postgresql import snapshot\n"
        "snapshot.Snapshotter._dump_to = lambda *_: time.sleep(60)\n"
        "settings = {'url': sys.argv[1], 'resource': 'shop@prod/us'}\n"
        "create(UNIT, settings, Tools(Path(sys.argv[2]))).capture('r1')"
    )
    arguments = [shop.server.url(shop.name), str(shop.tools.directory)]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT)
    try:
        until(lambda: list((shop.tools.directory / "snapshots").glob("*.tmp")))
        assert [name[-5:] for name in slots(shop)] == ["_open"]
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    until(lambda: slots(shop) == [])
    assert len(publications(shop)) == 1
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.ask("INSERT INTO orders VALUES (101)")
    assert driver.writes_since(taken, []).tables == (TableWrites("orders", 1),)


def test_what_a_crash_left_is_removed_by_the_next_end_or_capture(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    for act in (lambda: driver.end_capture(taken), lambda: driver.capture("r2")):
        ghost = publication.capture_name("shop@prod/us", "a snapshot never noted")
        foreign = publication.capture_name("another@prod/us", taken.id)
        for name in (ghost, foreign):
            if name not in slots(shop):
                shop.ask(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
                shop.ask(f"CREATE PUBLICATION {name}")
        act()
        assert ghost not in slots(shop) + publications(shop)
        assert foreign in slots(shop)
        assert foreign in publications(shop)


@pytest.mark.parametrize("stage", FAILING)
def test_a_failure_anywhere_leaves_nothing(shop: Lab, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(28, "disk full") if stage == "write" else psycopg.OperationalError("cut off")
    with monkeypatch.context() as patched:
        patched.setattr(*FAILING[stage], fail_with(error))
        with pytest.raises(Exception, match=r"cut off|disk full"):
            shop.driver().capture("r1")
    assert slots(shop) == publications(shop) == []
    assert shop.driver().capture("r1").size > 0


def restarted(lab: Lab, mode: str) -> PostgresqlDriver:
    if mode == "kill":
        lab.server.kill()
        lab.server.start()
    else:
        lab.server.restart()
    return lab.driver()


def test_the_server_dies_in_between(shop: Lab) -> None:
    taken = shop.driver().capture("r1")
    shop.ask("INSERT INTO orders VALUES (101)")
    driver = restarted(shop, "kill")
    shop.ask("INSERT INTO orders VALUES (102)")
    writes = driver.writes_since(taken, [])
    assert (writes.complete, writes.tables) == (True, (TableWrites("orders", 2),))


def test_the_server_gave_the_log_up(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.server.configure(max_slot_wal_keep_size="1MB", min_wal_size="32MB")
    try:
        for _ in range(4):
            shop.ask("INSERT INTO lines VALUES (1, 1); DELETE FROM lines")
            shop.ask("SELECT pg_switch_wal()")
        shop.ask("CHECKPOINT")
        writes = driver.writes_since(taken, [])
        assert not writes.complete
        assert "gave up the log" in told(writes)[0]
        with pytest.raises(Rejected, match="gave up the log"):
            driver.refuse_lost(taken)
        assert driver.capture("r1") == taken
        shop.server.configure(max_slot_wal_keep_size="1GB", min_wal_size="80MB")
        until(lambda: shop.ask("SHOW max_slot_wal_keep_size") == [("1GB",)])
        again = driver.capture("r2")
        assert driver.writes_since(again, []).complete
        driver.refuse_lost(again)
    finally:
        shop.server.configure(max_slot_wal_keep_size="1GB", min_wal_size="80MB")


def test_the_server_gave_up_what_nobody_read(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.server.configure(idle_replication_slot_timeout="1s")
    try:
        asked = "SELECT invalidation_reason FROM pg_replication_slots"
        until(lambda: [shop.ask("CHECKPOINT"), shop.ask(asked)][1] == [("idle_timeout",)])
    finally:
        shop.server.configure(idle_replication_slot_timeout="0")
    assert "nobody read it" in told(driver.writes_since(taken, []))[0]


def test_a_slot_made_again_by_somebody_is_not_ours(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    (name,) = slots(shop)
    shop.ask(f"SELECT pg_drop_replication_slot('{name}')")
    shop.ask(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    writes = driver.writes_since(taken, [])
    assert not writes.complete
    assert "begins at" in told(writes)[0]
    shop.ask(f"DROP PUBLICATION {name}")
    assert not driver.writes_since(taken, []).complete


def test_obstacles_are_named_with_their_remedy(shop: Lab) -> None:
    driver = shop.driver()
    assert driver.capture_obstacle() is None
    role = f"weak_{shop.name}"
    shop.ask(f"CREATE ROLE {role} LOGIN; GRANT pg_read_all_data TO {role}")
    weak = shop.driver(url=shop.server.url(shop.name, role))
    try:
        assert f"ALTER ROLE {role} REPLICATION" in str(weak.capture_obstacle())
        shop.ask(f"ALTER ROLE {role} REPLICATION")
        assert f"GRANT CREATE ON DATABASE {shop.name} TO {role}" in str(weak.capture_obstacle())
        with pytest.raises(Rejected) as caught:
            weak.capture("r1")
        assert caught.value.cause is Cause.PERMISSION
        assert not (shop.tools.directory / "snapshots").exists()
        shop.ask(f"GRANT CREATE ON DATABASE {shop.name} TO {role}; ALTER TABLE lines OWNER TO {role}")
        assert weak.capture_obstacle() is None
        assert told(weak.writes_since(weak.capture("r1"), [])) == [
            f"table orders belongs to a role that '{role}' is no member of: its writes are not known"
        ]
        for _ in range(8):
            shop.ask("SELECT pg_create_physical_replication_slot('other_' || txid_current())")
        assert "has 1 free replication slots of 10, and 2 are needed" in str(driver.capture_obstacle())
    finally:
        shop.ask("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        for name in publications(shop):
            shop.ask(f"DROP PUBLICATION {name}")
        shop.ask(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def test_settings_of_the_server_in_the_way(shop: Lab) -> None:
    shop.server.configure(max_slot_wal_keep_size="-1")
    until(lambda: shop.ask("SHOW max_slot_wal_keep_size") == [("-1",)])
    driver = shop.driver()
    try:
        assert "ALTER SYSTEM SET max_slot_wal_keep_size = '4GB'" in str(driver.capture_obstacle())
        # A rehearsal's copy alone would push the slot out: 2 databases and 64 MiB have to fit.
        shop.server.configure(max_slot_wal_keep_size="70MB")
        until(lambda: shop.ask("SHOW max_slot_wal_keep_size") == [("70MB",)])
        left = named(driver._snapshots.name("r1"))
        shop.ask(f"SELECT pg_create_logical_replication_slot('{left}', 'pgoutput')")
        shop.ask(f"CREATE PUBLICATION {left}")
        with pytest.raises(Rejected, match=r"keeps 70 MiB .*max_slot_wal_keep_size = '4GB'"):
            driver.capture("r1")
        assert slots(shop) == publications(shop) == [], "what it left when it died before goes all the same"
        shop.server.configure(idle_replication_slot_timeout="1h", max_slot_wal_keep_size="1GB")
        until(lambda: shop.ask("SHOW idle_replication_slot_timeout") == [("1h",)])
        with pytest.raises(Rejected, match=r"nobody read for 1h.*idle_replication_slot_timeout = 0"):
            driver.capture("r1")
        shop.server.configure(wal_level="replica", idle_replication_slot_timeout="0")
        driver = restarted(shop, "fast")
        with pytest.raises(Rejected, match=r"wal_level is replica.*ALTER SYSTEM SET wal_level = logical"):
            driver.capture("r1")
        shop.server.configure(wal_level="logical", max_wal_senders="0")
        driver = restarted(shop, "fast")
        assert "look at max_wal_senders and pg_hba.conf" in str(driver.capture_obstacle())
    finally:
        shop.server.configure(wal_level="logical", max_wal_senders="10", max_slot_wal_keep_size="1GB")
        restarted(shop, "fast")
