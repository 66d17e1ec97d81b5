"""What a swap takes along, and what stands in its way."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import psycopg
import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.salvage import Salvage
from lastgood.drivers.postgresql import salvage, scratch
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.day import RESTORE, Day
from tests.drivers.postgresql.waiting import until


@pytest.fixture
def day(lab: Lab) -> Day:
    return Day.begin(lab)


def refused(day: Day, *keep: str, **settings: object) -> Rejected:
    with pytest.raises(Rejected) as caught:
        day.lab.driver(**settings).refuse_restore(day.taken, keep)
    return caught.value


def test_what_belongs_to_the_name_stays_with_it(day: Day) -> None:
    lab, name = day.lab, day.lab.name
    owner, reader = f"owner_{name}", f"reader_{name}"
    lab.ask(
        f"CREATE ROLE {owner}; CREATE ROLE {reader}; ALTER DATABASE {name} OWNER TO {owner};"
        f"ALTER DATABASE {name} SET work_mem = '5MB';"
        f'ALTER DATABASE {name} SET search_path = public, "X y";'
        f"ALTER ROLE {reader} IN DATABASE {name} SET work_mem = '6MB';"
        f"ALTER DATABASE {name} CONNECTION LIMIT 33; COMMENT ON DATABASE {name} IS 'the shop''s';"
        f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC;"
        f"GRANT CONNECT ON DATABASE {name} TO {reader} WITH GRANT OPTION"
    )
    about = (
        "SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'),"
        "ARRAY(SELECT a::text FROM unnest(datacl) a ORDER BY 1), "
        "(SELECT array_agg((setrole, setconfig)::text ORDER BY 1) FROM pg_db_role_setting s "
        f"WHERE s.setdatabase = d.oid) FROM pg_database d WHERE datname = '{name}'"
    )
    driver = lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    lab.ask(f"ALTER DATABASE {name} SET work_mem = '7MB'; ALTER DATABASE {name} RESET search_path")
    before = lab.ask(about)
    with lab.session() as client:
        swapped = day.go_back_again()
        with pytest.raises(client.OperationalError):
            client.execute("SELECT 1")
    assert lab.ask(about) == before
    assert swapped.failed.startswith(f"{name}_failed_2")
    assert lab.ask("SELECT count(*) FROM orders", name=swapped.failed) == [(20,)]


def test_the_capture_ends_with_the_failed_database(day: Day) -> None:
    swapped = day.go_back()
    assert day.lab.ask("SELECT 1 FROM pg_replication_slots WHERE database ~ 'shop'") == []
    for name in (day.lab.name, swapped.failed):
        assert day.lab.ask("SELECT pubname FROM pg_publication", name=name) == []
    again = day.lab.driver().capture("the next")
    day.lab.ask("INSERT INTO orders (customer) VALUES ('x')")
    day.migrate("DELETE FROM items;")
    second = day.lab.driver()
    second.prepare_copy(again, "second")
    assert second.swap(again, "second", ()).salvage.carried == {"orders": 1, "log": 1}
    assert day.lab.ask("SELECT count(*) FROM items") == [(20,)]


def test_keep_is_closed_over_foreign_keys(day: Day) -> None:
    assert "items → orders, items → products" in str(refused(day, "items"))
    assert "items → products" in str(refused(day, "items", "public.orders"))
    assert "nosuch" in str(refused(day, "orders", "nosuch"))
    day.lab.driver().refuse_restore(day.taken, ["items", "orders", "products"])


def test_a_table_that_is_not_captured_cannot_be_kept(lab: Lab) -> None:
    day = Day.begin(lab, "CREATE TABLE keyless (n int);")
    assert "keyless" in str(refused(day, "orders", "keyless"))
    day.lab.driver().refuse_restore(day.taken, ())


def test_subscriptions_and_large_objects_are_in_the_way(day: Day) -> None:
    ask = day.lab.ask
    ask("CREATE SUBSCRIPTION feed CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = NONE)")
    assert "feed" in str(refused(day))
    ask("DROP SUBSCRIPTION feed; SELECT lo_create(0)")
    assert "large objects" in str(refused(day))


def test_slots_of_others_stay_with_the_failed_database_and_are_named(day: Day) -> None:
    """What was written before is still in them; who asks the restored database for it is refused."""
    lab, slot = day.lab, f"cdc_{day.lab.name}"
    lab.ask(f"SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')")
    lab.ask("INSERT INTO orders (customer) VALUES ('before the swap')")
    (left,) = lab.driver().neighbours(day.taken).left
    assert f"replication slot {slot} (test_decoding)" in str(left)
    swapped = day.go_back()
    peek = f"SELECT data FROM pg_logical_slot_peek_changes('{slot}', NULL, NULL)"
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="was not created in this database"):
        lab.ask(peek)
    assert "before the swap" in str(lab.ask(peek, name=swapped.failed))
    lab.ask(f"SELECT pg_drop_replication_slot('{slot}')")


def test_a_prepared_transaction_is_in_the_way_in_the_last_moment_too(day: Day) -> None:
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    day.lab.ask("BEGIN; INSERT INTO orders (customer) VALUES ('p'); PREPARE TRANSACTION 'two-phase'")
    assert "two-phase" in str(refused(day))
    with pytest.raises(Rejected, match="two-phase"):
        driver.swap(day.taken, RESTORE, ())
    day.lab.ask("COMMIT PREPARED 'two-phase'")
    driver.swap(day.taken, RESTORE, ())
    assert day.lab.ask("SELECT customer FROM orders WHERE id = 21") == [("p",)]


def test_a_capture_that_is_over_is_in_the_way(day: Day) -> None:
    day.lab.driver().end_capture(day.taken)
    assert "no capture is open" in str(refused(day))
    day.lab.driver().prepare_copy(day.taken, RESTORE)
    with pytest.raises(Rejected, match="no capture is open"):
        day.lab.driver().swap(day.taken, RESTORE, ())
    day.lab.ask("SELECT 1")


def test_room_is_looked_at_first(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=4096)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: full)
    assert "MiB are free" in str(refused(day))
    with pytest.raises(Rejected, match="MiB are free"):
        day.lab.driver().prepare_copy(day.taken, RESTORE)
    assert [n for n in day.lab.databases() if n.startswith(day.lab.name)] == [day.lab.name]


def test_the_missing_right_is_named_and_those_named_are_enough(day: Day) -> None:
    lab, role = day.lab, f"restorer_{day.lab.name}"
    mine = {"url": lab.server.url(lab.name, role)}
    lab.ask(f"CREATE ROLE {role} LOGIN; GRANT pg_read_all_data TO {role}")

    def missing() -> str:
        error = refused(day, **mine)
        assert error.cause is Cause.PERMISSION
        return str(error.what.params["right"])

    for right in ("CREATEDB", "REPLICATION"):
        assert missing() == right
        lab.ask(f"ALTER ROLE {role} {right}")
    assert missing() == "pg_signal_backend"
    lab.ask(f"GRANT pg_signal_backend TO {role}")
    assert missing() == "membership in postgres"
    # Not to make it a superuser by the back door, everything becomes its own.
    lab.ask(
        f"ALTER DATABASE {lab.name} OWNER TO {role}; ALTER TABLE products OWNER TO {role};"
        f"ALTER TABLE orders OWNER TO {role}; ALTER TABLE items OWNER TO {role};"
        f"ALTER TABLE log OWNER TO {role};"
        f"ALTER FUNCTION logged() OWNER TO {role}"
    )
    lab.driver().end_capture(day.taken)
    driver = lab.driver(**mine)
    taken = driver.capture("as its owner")
    lab.ask("INSERT INTO orders (customer) VALUES ('x'); INSERT INTO items VALUES (21, 1, 1)")
    driver.refuse_restore(taken, ())
    driver.prepare_copy(taken, "r")
    driver.carry_over(taken, "r", ())
    lab.ask(f"CREATE ROLE client_{lab.name} LOGIN")
    with lab.session(user=f"client_{lab.name}") as client:
        driver.swap(taken, "r", ())
        with pytest.raises(client.OperationalError):
            client.execute("SELECT 1")
    assert lab.ask("SELECT customer, count FROM orders JOIN items ON order_id = id WHERE id = 21") == [
        ("x", 1)
    ]


def test_writes_that_are_acknowledged_before_they_are_on_the_disk(day: Day) -> None:
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    day.lab.ask(
        "SET synchronous_commit = off; INSERT INTO orders (customer) SELECT 'a' FROM generate_series(1, 50)"
    )
    driver.swap(day.taken, RESTORE, ())
    assert day.lab.ask("SELECT count(*) FROM orders") == [(70,)]


def test_the_fence_reads_only_what_is_new(day: Day) -> None:
    """What was carried over ahead is consumed by the restore's own slot, and kept by the capture's."""
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    day.lab.ask("INSERT INTO orders (customer) SELECT 'a' FROM generate_series(1, 50)")
    first = driver.carry_over(day.taken, RESTORE, ())
    slots = "FROM pg_replication_slots WHERE database = current_database() ORDER BY slot_name"
    kept, own = (row[0] for row in day.lab.ask(f"SELECT confirmed_flush_lsn {slots}"))
    assert (kept, own) == (day.taken.cut, first.position)
    assert driver.writes_since(day.taken, ()).tables[1].inserted == 50
    until(lambda: driver.carry_over(day.taken, RESTORE, ()).carried == first.carried)


def test_what_is_written_while_we_carry_over_is_not_left_to_the_fence(
    day: Day, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the next pass ahead of it, each shorter than the one before, until a pass is short."""
    passes: list[int] = []
    carry_over = salvage.Salvager.carry_over

    def written_meanwhile(self: salvage.Salvager, *, last: bool = False) -> Salvage:
        found = carry_over(self, last=last)
        passes.append(found.carried.get("orders", 0))
        if len(passes) < 4:
            day.lab.ask("INSERT INTO orders (customer) VALUES ('meanwhile')")
            clock.append(clock[-1] + 2.0 ** -len(passes))
        return found

    clock = [0.0]
    monkeypatch.setattr(salvage, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    monkeypatch.setattr(salvage.Salvager, "carry_over", written_meanwhile)
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    driver.swap(day.taken, RESTORE, ())
    assert passes == [0, 1, 2, 3, 3]


def test_a_log_too_short_for_the_copy_is_in_the_way(lab: Lab) -> None:
    """Loading the copy is written to the log too, behind what the capture holds."""
    heavy = "SELECT n, repeat(md5(n::text), 60) FROM generate_series(1, 9000) n"
    day = Day.begin(
        lab,
        "CREATE TABLE heavy (id int PRIMARY KEY, pad text);"
        f"ALTER TABLE heavy ALTER pad SET STORAGE EXTERNAL; INSERT INTO heavy {heavy};",
    )
    lab.server.configure(max_slot_wal_keep_size="1MB")
    try:
        until(lambda: lab.ask("SHOW max_slot_wal_keep_size") == [("1MB",)])
        error = refused(day)
        assert "would give up the log since the snapshot" in str(error)
        assert "max_slot_wal_keep_size = '4GB'" in str(error.todo)
        # What stood by when that was asked may be gone by now.
        with pytest.raises(Rejected, match="would give up the log"):
            lab.driver().prepare_copy(day.taken, RESTORE)
    finally:
        lab.server.configure(max_slot_wal_keep_size="1GB")
    until(lambda: lab.ask("SHOW max_slot_wal_keep_size") == [("1GB",)])
    lab.driver().refuse_restore(day.taken, ())
