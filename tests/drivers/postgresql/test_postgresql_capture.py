"""Captures on real servers: everything written after the cut, and nobody hindered by it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from lastgood.domain.errors import Rejected
from lastgood.domain.salvage import TableWrites
from lastgood.drivers.postgresql import changes, publication
from lastgood.ports.restoring import Captures
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.postgresql.capturing import SHOP, publications, published, slots, told
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until


@pytest.fixture
def shop(capturing_lab: Lab) -> Lab:
    capturing_lab.ask(SHOP)
    return capturing_lab


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
    assert writes.tables == (TableWrites("p", 1, 1), TableWrites("q25", 1))
    shop.ask("TRUNCATE p")
    assert driver.writes_since(taken, []).tables == (TableWrites("p", 0, 0, 2), TableWrites("q25", 1))


def test_a_partition_emptied_or_dropped_by_hand_is_named(shop: Lab) -> None:
    shop.ask("CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    for n in range(4):
        shop.ask(f"CREATE TABLE p{n} PARTITION OF p FOR VALUES FROM ({n}) TO ({n + 1})")
    shop.ask("INSERT INTO p SELECT generate_series(0, 3)")
    driver = shop.driver()
    taken = driver.capture("r1")
    driver.deploy(script("0001_old", "DROP TABLE p0", "SELECT 1", "SELECT 1"), KEY)
    assert driver.writes_since(taken, []).complete
    shop.ask("TRUNCATE p1; DROP TABLE p2")
    assert told(driver.writes_since(taken, [])) == [
        "partition p1 was dropped, emptied or rewritten by hand: its rows are not known",
        "partition p2 was dropped, emptied or rewritten by hand: its rows are not known",
    ]


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


@pytest.mark.parametrize("failing", ["SELECT nowhere", "SELECT currval('orders_seq')"])
def test_a_failed_migration_leaves_the_capture_as_it_was(shop: Lab, failing: str) -> None:
    """The second one fails with the code that a statement has to which a publication is in the way."""
    shop.ask("CREATE SEQUENCE orders_seq")
    driver = shop.driver()
    taken = driver.capture("r1")
    deploy = f"ALTER TABLE orders DROP CONSTRAINT orders_pkey; {failing}"
    with pytest.raises(Rejected, match=r"nowhere|currval"):
        driver.deploy(script("0001_bad", deploy, "SELECT 1", ""), KEY)
    shop.ask("UPDATE orders SET note = 'x' WHERE id = 1")
    writes = driver.writes_since(taken, [])
    assert (writes.complete, writes.tables) == (True, (TableWrites("orders", updated=1),))
