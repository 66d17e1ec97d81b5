"""Captures on real servers: everything written after the cut, and nobody hindered by it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.salvage import TableWrites, WritesSince
from lastgood.drivers.postgresql import changes, publication
from lastgood.drivers.postgresql.driver import PostgresqlDriver
from lastgood.ports.restoring import Captures
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until

ROOT = Path(__file__).parents[3]
SHOP = """
CREATE TABLE orders (id int PRIMARY KEY, note text);
CREATE TABLE lines (order_id int, no int, article text, PRIMARY KEY (order_id, no));
INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 100) n;
"""


@pytest.fixture
def shop(emptied_lab: Lab) -> Iterator[Lab]:
    emptied_lab.ask(SHOP)
    yield emptied_lab
    assert not loose_slots(emptied_lab)
    for name in slots(emptied_lab):
        emptied_lab.ask(f"SELECT pg_drop_replication_slot('{name}')")
    for name in publications(emptied_lab):
        emptied_lab.ask(f"DROP PUBLICATION {name}")


def slots(lab: Lab) -> list[str]:
    return [str(row[0]) for row in lab.ask("SELECT slot_name FROM pg_replication_slots ORDER BY 1")]


def loose_slots(lab: Lab) -> list[str]:
    """Copies for reading and slots half made."""
    return [name for name in slots(lab) if not name.startswith("lastgood_") or len(name) != 38]


def publications(lab: Lab) -> list[str]:
    return [str(row[0]) for row in lab.ask("SELECT pubname FROM pg_publication ORDER BY 1")]


def published(lab: Lab) -> list[str]:
    return [str(row[0]) for row in lab.ask("SELECT tablename FROM pg_publication_tables ORDER BY 1")]


def told(writes: WritesSince) -> list[str]:
    return [str(reason) for reason in writes.reasons]


def test_a_driver_of_postgresql_captures(shop: Lab) -> None:
    assert isinstance(shop.driver(), Captures)


def test_rows_are_counted_once_each(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    assert driver.writes_since(taken, []).tables == ()
    shop.ask("INSERT INTO orders VALUES (101), (102), (103)")
    shop.ask("UPDATE orders SET note = 'a' WHERE id IN (1, 2, 101)")
    shop.ask("UPDATE orders SET note = 'b' WHERE id IN (1, 2, 101)")
    shop.ask("DELETE FROM orders WHERE id IN (2, 3, 102)")
    shop.ask("INSERT INTO orders VALUES (3, 'again')")
    shop.ask("UPDATE orders SET id = 1004 WHERE id = 4")
    shop.ask("INSERT INTO lines VALUES (101, 1, 'tea'); DELETE FROM lines")
    writes = driver.writes_since(taken, [])
    assert writes.tables == (TableWrites("orders", inserted=2, updated=3, deleted=1),)
    assert (writes.snapshot, writes.complete, writes.reasons) == (taken.id, True, ())
    assert writes.held > 0
    assert changes.number(writes.position) > changes.number(taken.cut)
    assert driver.writes_since(taken, []).tables == writes.tables, "nothing was consumed"
    assert driver.writes_since(taken, ["lines"]).lost == (TableWrites("orders", 2, 3, 1, kept=False),)
    assert driver.writes_since(taken, ["public.orders"]).lost == ()


def test_a_table_emptied_as_a_whole(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.ask("INSERT INTO orders VALUES (101); DELETE FROM orders WHERE id = 1")
    shop.ask("TRUNCATE orders; INSERT INTO orders VALUES (1), (2)")
    assert driver.writes_since(taken, []).tables == (TableWrites("orders", inserted=2, deleted=100),)


def test_rows_without_a_key_but_their_content(shop: Lab) -> None:
    shop.ask("CREATE TABLE log (line text); ALTER TABLE log REPLICA IDENTITY FULL")
    shop.ask("INSERT INTO log VALUES ('same'), ('same'), ('one'), ('two')")
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.ask("INSERT INTO log VALUES ('new'), ('new'), ('three')")
    shop.ask(
        "UPDATE log SET line = 'uno' WHERE line = 'one'; UPDATE log SET line = 'tre' WHERE line = 'three'"
    )
    shop.ask("DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log WHERE line = 'same')")
    assert driver.writes_since(taken, []).tables == (TableWrites("log", inserted=3, updated=1, deleted=1),)


def test_dump_and_capture_have_the_same_cut(shop: Lab) -> None:
    """Of every acknowledged row it is known on which side it is, whoever writes at the time."""
    shop.ask("CREATE SEQUENCE n; CREATE TABLE a (n int PRIMARY KEY); CREATE TABLE b (n int PRIMARY KEY)")
    over = threading.Event()

    def write() -> None:
        with shop.session() as connection:
            while not over.is_set():
                connection.execute(
                    "WITH i AS (INSERT INTO a VALUES (nextval('n')) RETURNING n) INSERT INTO b TABLE i"
                )

    writers = [threading.Thread(target=write) for _ in range(3)]
    driver = shop.driver(lock_deadline=10)
    for writer in writers:
        writer.start()
    try:
        until(lambda: shop.ask("SELECT count(*) > 20 FROM a") == [(True,)])
        taken = driver.capture("under load")
        until(lambda: driver.writes_since(taken, []).tables)
    finally:
        over.set()
        for writer in writers:
            writer.join()
    notes = json.loads(Path(taken.path).with_suffix(".json").read_text())
    a, b = driver.writes_since(taken, []).tables
    assert (a.table, b.table, a.updated, a.deleted) == ("a", "b", 0, 0)
    assert a.inserted == b.inserted > 0
    for table in "ab":
        assert shop.ask(f"SELECT count(*) FROM {table}") == [(notes["rows"][f"public.{table}"] + a.inserted,)]
    assert driver.prove(taken).proven_at


def test_done_twice_is_done_once_and_another_one_ends_it(shop: Lab) -> None:
    driver = shop.driver()
    first = driver.capture("r1")
    assert driver.capture("r1") == first
    (name,) = slots(shop)
    assert name == publications(shop)[0] == publication.capture_name("shop@prod/us", first.id)
    shop.ask("INSERT INTO orders VALUES (101)")
    second = driver.capture("r2")
    assert slots(shop) == publications(shop) != [name]
    writes = driver.writes_since(first, [])
    assert (writes.complete, writes.tables) == (False, ())
    assert told(writes) == [
        f"no capture is open for snapshot {first.id}: it was ended, or lost with its server"
    ]
    writes = driver.writes_since(second, [])
    assert (writes.complete, writes.tables) == (True, ())
    driver.end_capture(first)
    assert len(slots(shop)) == 1, "what is not open is left alone, and so is another one"
    driver.end_capture(second)
    driver.end_capture(second)
    assert slots(shop) == publications(shop) == []
    assert Path(second.path).exists()


def test_a_snapshot_without_a_capture_is_taken_anew_with_one(shop: Lab) -> None:
    driver = shop.driver()
    plain = driver.snapshot("r1")
    shop.ask("INSERT INTO orders VALUES (101)")
    taken = driver.capture("r1")
    assert taken.id == plain.id
    assert taken.cut != plain.cut
    notes = json.loads(Path(taken.path).with_suffix(".json").read_text())
    assert notes["rows"]["public.orders"] == 101
    driver.prove(taken)


def test_the_capture_is_no_part_of_the_schema(shop: Lab) -> None:
    driver = shop.driver()
    before = driver.fingerprint()
    taken = driver.capture("r1")
    assert driver.fingerprint() == before == taken.fingerprint
    wider = script("0001_wide", "ALTER TABLE orders ADD b int", "SELECT 1", "ALTER TABLE orders DROP b")
    assert driver.rehearse(taken, [wider], []).difference == ""


def test_what_is_not_watched_is_named(shop: Lab) -> None:
    generated = "made int GENERATED ALWAYS AS (id + 1) STORED"
    shop.ask("CREATE TABLE keyless (n int); CREATE UNLOGGED TABLE cart (id int PRIMARY KEY)")
    shop.ask("CREATE TABLE late_key (id int, UNIQUE (id) DEFERRABLE); CREATE SCHEMA erp")
    shop.ask(
        f"CREATE TABLE erp.full_made (id int, {generated}); ALTER TABLE erp.full_made REPLICA IDENTITY FULL"
    )
    shop.ask(f"CREATE TABLE fine (id int PRIMARY KEY, {generated}); CREATE TABLE gone (n int)")
    driver = shop.driver()
    taken = driver.capture("r1")
    assert published(shop) == ["fine", "lines", "orders"]
    for table in ("keyless", "cart", "late_key", "erp.full_made", "fine"):
        shop.ask(
            f"INSERT INTO {table} VALUES (1); UPDATE {table} SET {'n' if table == 'keyless' else 'id'} = 2"
        )
        shop.ask(f"DELETE FROM {table}")
    shop.ask("DROP TABLE gone; CREATE TABLE new (id int PRIMARY KEY); DROP TABLE lines")
    shop.ask("SELECT lo_from_bytea(0, 'x')")
    writes = driver.writes_since(taken, [])
    assert not writes.complete
    assert told(writes) == [
        "the key of table erp.full_made holds a generated column: its writes are not known",
        "table cart is unlogged: its writes are not known",
        "table gone has no primary key that tells its rows apart: its writes are not known",
        "table keyless has no primary key that tells its rows apart: its writes are not known",
        "table late_key has no primary key that tells its rows apart: its writes are not known",
        "table lines was dropped, and not by a migration: its rows are not known",
        "table new came later, and not by a migration: its writes are not known",
        "large objects are there: what was written to them is not known",
    ]
    shop.ask("SELECT lo_unlink(oid) FROM pg_largeobject_metadata; DROP SCHEMA erp CASCADE")


def test_partitions_are_watched_as_one_unless_one_of_them_has_no_key(shop: Lab) -> None:
    shop.ask(
        "CREATE TABLE p (at date, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at);"
        "CREATE TABLE p25 PARTITION OF p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');"
        "CREATE TABLE q (at date, id int) PARTITION BY RANGE (at);"
        "CREATE TABLE q25 PARTITION OF q (PRIMARY KEY (id)) FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');"
        "CREATE TABLE q26 PARTITION OF q FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');"
        "INSERT INTO p VALUES ('2025-01-01', 1), ('2025-01-01', 2)"
    )
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.ask("CREATE TABLE p26 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')")
    shop.ask("INSERT INTO p VALUES ('2026-01-01', 3); UPDATE p SET at = '2026-02-02' WHERE id = 1")
    shop.ask(
        "INSERT INTO q VALUES ('2025-01-01', 1), ('2026-01-01', 2); UPDATE q SET at = at + 1; DELETE FROM q26"
    )
    writes = driver.writes_since(taken, [])
    assert told(writes) == [
        "table q26 has no primary key that tells its rows apart: its writes are not known"
    ]
    assert writes.tables == (TableWrites("p", 2, 0, 1), TableWrites("q25", 1))
    shop.ask("TRUNCATE p")
    assert driver.writes_since(taken, []).tables == (TableWrites("p", 0, 0, 2), TableWrites("q25", 1))


def test_the_writes_of_migrations_are_nobodys(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.ask("INSERT INTO orders VALUES (101)")
    bulk = script(
        "0001_bulk",
        "UPDATE orders SET note = 'bulk'; CREATE TABLE gifts (id int PRIMARY KEY, wrap text);"
        "INSERT INTO gifts SELECT id FROM orders",
        "SELECT 1",
        "UPDATE orders SET note = 'undone'; DROP TABLE gifts",
    )
    driver.deploy(bulk, KEY)
    assert driver.writes_since(taken, []).tables == (TableWrites("orders", 1),)
    shop.ask("UPDATE gifts SET wrap = 'red' WHERE id < 3; INSERT INTO gifts VALUES (500)")
    writes = driver.writes_since(taken, [])
    assert writes.complete
    assert writes.tables == (TableWrites("gifts", 1, 2), TableWrites("orders", 1))
    driver.revert(bulk, KEY)
    shop.ask("UPDATE orders SET note = 'mine' WHERE id = 7")
    writes = driver.writes_since(taken, [])
    assert writes.complete
    assert writes.tables == (TableWrites("gifts", 1, 2), TableWrites("orders", 1, 1))


@pytest.mark.parametrize(
    "deploy",
    [
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
        "ALTER TABLE orders DROP COLUMN id",
        "ALTER TABLE orders DROP CONSTRAINT orders_pkey; UPDATE orders SET note = 'x'; DELETE FROM orders",
        "ALTER TABLE orders REPLICA IDENTITY NOTHING",
        "DO $$BEGIN ALTER TABLE orders DROP CONSTRAINT orders_pkey; UPDATE orders SET note = 'x'; END$$",
        "ALTER TABLE orders SET UNLOGGED",
    ],
)
def test_a_migration_that_takes_the_key_away_goes_on_and_so_does_the_shop(shop: Lab, deploy: str) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.ask("INSERT INTO orders VALUES (101)")
    driver.deploy(script("0001_keyless", deploy, "UPDATE orders SET note = 'y'", "SELECT 1"), KEY)
    shop.ask("UPDATE orders SET note = 'after'; INSERT INTO lines VALUES (1, 1)")
    assert published(shop) == ["lines"]
    writes = driver.writes_since(taken, [])
    assert not writes.complete
    assert told(writes)[0].startswith("table orders ")
    assert writes.tables == (TableWrites("lines", 1), TableWrites("orders", 1))


def test_a_migration_that_drops_renames_and_gives_another_key_is_followed(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    shop.ask("INSERT INTO lines VALUES (101, 1)")
    deploy = (
        "DROP TABLE lines; ALTER TABLE orders RENAME TO purchases;"
        "ALTER TABLE purchases RENAME note TO remark;"
        "ALTER TABLE purchases DROP CONSTRAINT orders_pkey; UPDATE purchases SET id = id + 1000;"
        "ALTER TABLE purchases ADD PRIMARY KEY (id), ADD COLUMN extra text DEFAULT 'x', ALTER id TYPE bigint"
    )
    driver.deploy(script("0001_much", deploy, "SELECT 1", "SELECT 1"), KEY)
    shop.ask("UPDATE purchases SET remark = 'r' WHERE id < 1003; INSERT INTO purchases VALUES (1)")
    writes = driver.writes_since(taken, [])
    assert (writes.complete, told(writes)) == (True, [])
    assert writes.tables == (TableWrites("lines", 1), TableWrites("orders", 1, 2)), "by the names at the cut"


def test_what_lost_its_key_and_got_one_again_is_not_complete(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    without = script("0001_x", "ALTER TABLE orders DROP CONSTRAINT orders_pkey", "SELECT 1", "SELECT 1")
    driver.deploy(without, KEY)
    shop.ask("INSERT INTO orders VALUES (101)")
    driver.deploy(script("0002_y", "ALTER TABLE orders ADD PRIMARY KEY (id)", "SELECT 1", "SELECT 1"), KEY)
    shop.ask("INSERT INTO orders VALUES (102)")
    writes = driver.writes_since(taken, [])
    assert told(writes) == [
        "table orders has no primary key that tells its rows apart: its writes are not known"
    ]
    assert writes.tables == (TableWrites("orders", 1),)


def test_a_failed_migration_leaves_the_capture_as_it_was(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.capture("r1")
    bad = script("0001_bad", "ALTER TABLE orders DROP CONSTRAINT orders_pkey; SELECT nowhere", "SELECT 1", "")
    with pytest.raises(Rejected, match="nowhere"):
        driver.deploy(bad, KEY)
    shop.ask("UPDATE orders SET note = 'x' WHERE id = 1")
    writes = driver.writes_since(taken, [])
    assert (writes.complete, writes.tables) == (True, (TableWrites("orders", updated=1),))


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
    with shop.session(autocommit=False) as reader:
        reader.execute("SELECT * FROM orders")
        assert driver.capture("r1").size > 0, "who only reads holds nobody up"


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


@pytest.mark.parametrize("stage", ["publish", "keep", "write"])
def test_a_failure_anywhere_leaves_nothing(shop: Lab, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lastgood.drivers.postgresql import slots as slots_module
    from lastgood.drivers.postgresql import snapshot

    def fail(*_: object) -> None:
        raise psycopg.OperationalError("cut off") if stage != "write" else OSError(28, "disk full")

    place = {
        "publish": (publication, "_note"),
        "keep": (slots_module, "keep"),
        "write": (snapshot.Cut, "write"),
    }
    with monkeypatch.context() as patched:
        patched.setattr(*place[stage], fail)
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
        assert driver.capture("r1") == taken
        again = driver.capture("r2")
        assert driver.writes_since(again, []).complete
    finally:
        shop.server.configure(max_slot_wal_keep_size="1GB", min_wal_size="80MB")


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
        assert "has 2 free replication slots of 10, and 3 are needed" in str(driver.capture_obstacle())
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
        shop.server.configure(wal_level="replica", max_slot_wal_keep_size="1GB")
        driver = restarted(shop, "fast")
        with pytest.raises(Rejected, match=r"wal_level is replica.*ALTER SYSTEM SET wal_level = logical"):
            driver.capture("r1")
        shop.server.configure(wal_level="logical", max_wal_senders="0")
        driver = restarted(shop, "fast")
        assert "look at max_wal_senders and pg_hba.conf" in str(driver.capture_obstacle())
    finally:
        shop.server.configure(wal_level="logical", max_wal_senders="10", max_slot_wal_keep_size="1GB")
        restarted(shop, "fast")
