"""What a slot holds, read as rows, on real servers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import pytest

from lastgood.drivers.postgresql import changes
from lastgood.drivers.postgresql.changes import Change, Kind, Relation, Transaction, rejoined, transactions
from tests.drivers.postgresql.conftest import Lab

PUBLICATION = "Watched, all"


@pytest.fixture
def slot(emptied_lab: Lab) -> Iterator[str]:
    """Of a publication of all tables there are when the first change is read."""
    name = f"slot_{emptied_lab.name}"
    emptied_lab.ask('CREATE PUBLICATION "Watched, all" WITH (publish_via_partition_root = true)')
    emptied_lab.ask(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
    yield name
    emptied_lab.ask(f"SELECT pg_drop_replication_slot('{name}'); DROP PUBLICATION \"Watched, all\"")


def have(lab: Lab, *tables: str) -> None:
    for table in tables:
        lab.ask(f'ALTER PUBLICATION "Watched, all" ADD TABLE ONLY {table}')


def read(lab: Lab, slot: str, after: str = "", up_to: str = "") -> list[Transaction]:
    with lab.session() as connection:
        return list(transactions(connection, slot, PUBLICATION, after=after, up_to=up_to))


def rows(lab: Lab, slot: str) -> list[Change]:
    return [change for transaction in read(lab, slot) for change in transaction.changes]


def test_every_kind_of_change_of_a_row(emptied_lab: Lab, slot: str) -> None:
    lab = emptied_lab
    lab.ask('CREATE TABLE "Or""ders" (shop text, "No." int, note text, PRIMARY KEY (shop, "No."))')
    have(lab, '"Or""ders"')
    before = time.time()
    lab.ask("""INSERT INTO "Or""ders" VALUES ('köln', 1, NULL), ('köln', 2, E'two\\nlines')""")
    lab.ask("""UPDATE "Or""ders" SET note = '' WHERE "No." = 1""")
    lab.ask("""UPDATE "Or""ders" SET "No." = 3 WHERE "No." = 1""")
    lab.ask("""DELETE FROM "Or""ders" WHERE "No." = 2""")
    lab.ask("""TRUNCATE "Or""ders" """)
    found = read(lab, slot)
    assert [len(t.changes) for t in found] == [2, 1, 1, 1, 1]
    assert all(before - 5 < t.seconds < time.time() + 5 and not t.own and t.xid for t in found)
    one, two, changed, moved, deleted, truncated = [c for t in found for c in t.changes]
    relation = one.relation
    assert (relation.schema, relation.name) == ("public", 'Or"ders')
    assert (relation.columns, relation.key) == (("shop", "No.", "note"), ("shop", "No."))
    assert relation.oid == lab.ask("""SELECT '"Or""ders"'::regclass::oid::bigint""")[0][0]
    assert (one.kind, one.old, one.new) == (Kind.INSERT, {}, {"shop": "köln", "No.": "1", "note": None})
    assert two.new["note"] == "two\nlines"
    assert (changed.kind, changed.old) == (Kind.UPDATE, {})
    assert changed.new == {"shop": "köln", "No.": "1", "note": ""}
    assert moved.old == {"shop": "köln", "No.": "1"}
    assert moved.new["No."] == "3"
    assert (deleted.kind, deleted.old, deleted.new) == (Kind.DELETE, {"shop": "köln", "No.": "2"}, {})
    assert (truncated.kind, truncated.relation.name) == (Kind.TRUNCATE, 'Or"ders')


def test_a_large_value_that_did_not_change_is_not_there(emptied_lab: Lab, slot: str) -> None:
    lab = emptied_lab
    large = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 400) n)"
    lab.ask("CREATE TABLE a (id int PRIMARY KEY, n int, large text)")
    lab.ask("CREATE TABLE b (id int, n int, large text); ALTER TABLE b REPLICA IDENTITY FULL")
    lab.ask("ALTER TABLE a ALTER large SET STORAGE EXTERNAL; ALTER TABLE b ALTER large SET STORAGE EXTERNAL")
    have(lab, "a", "b")
    for table in "ab":
        lab.ask(f"INSERT INTO {table} VALUES (1, 1, {large}); UPDATE {table} SET n = 2")
        lab.ask(f"UPDATE {table} SET n = 2; DELETE FROM {table}")
    a, b = ([c for c in rows(lab, slot) if c.relation.name == name] for name in "ab")
    value = a[0].new["large"]
    assert value is not None
    assert len(value) == 400 * 32
    assert a[1].new == {"id": "1", "n": "2"}
    assert b[0].relation.key == ("id", "n", "large")
    assert b[1].old == {"id": "1", "n": "1", "large": value}, "with FULL the row before is all there"
    assert b[3].old == {"id": "1", "n": "2", "large": value}


def test_the_shape_changes_in_mid_stream(emptied_lab: Lab, slot: str) -> None:
    lab = emptied_lab
    lab.ask("CREATE TABLE t (id int PRIMARY KEY, a text, b text)")
    have(lab, "t")
    lab.ask("INSERT INTO t VALUES (1, 'a', 'b')")
    lab.ask(
        "ALTER TABLE t DROP a; ALTER TABLE t RENAME b TO c; ALTER TABLE t ADD d date DEFAULT '2026-01-02'"
    )
    lab.ask("INSERT INTO t VALUES (2, 'c')")
    lab.ask("ALTER TABLE t RENAME TO u; ALTER TABLE u ADD k int NOT NULL DEFAULT 7")
    lab.ask("ALTER TABLE u DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (k, id)")
    lab.ask("INSERT INTO u (id) VALUES (3)")
    found = rows(lab, slot)
    assert [c.relation.name for c in found] == ["t", "t", "u"]
    assert [c.relation.key for c in found] == [("id",), ("id",), ("id", "k")]
    assert found[0].new == {"id": "1", "a": "a", "b": "b"}
    assert found[1].new == {"id": "2", "c": "c", "d": "2026-01-02"}
    assert found[2].new == {"id": "3", "c": None, "d": "2026-01-02", "k": "7"}
    assert len({c.relation.oid for c in found}) == 1


def test_rows_of_partitions_are_those_of_their_table(emptied_lab: Lab, slot: str) -> None:
    lab = emptied_lab
    lab.ask("CREATE TABLE p (at date, id int, PRIMARY KEY (at, id)) PARTITION BY RANGE (at)")
    lab.ask("CREATE TABLE p25 PARTITION OF p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')")
    have(lab, "p")
    lab.ask("INSERT INTO p VALUES ('2025-05-05', 1)")
    lab.ask("CREATE TABLE p26 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')")
    lab.ask("INSERT INTO p26 VALUES ('2026-05-05', 2); UPDATE p SET at = '2026-06-06' WHERE id = 1")
    found = rows(lab, slot)
    assert {c.relation.name for c in found} == {"p"}
    assert [c.kind for c in found] == [Kind.INSERT, Kind.INSERT, Kind.DELETE, Kind.INSERT]
    assert found[0].relation.key == ("at", "id")


def test_in_order_of_commit_and_from_anywhere(emptied_lab: Lab, slot: str) -> None:
    """Nothing is consumed, whoever reads at the same time."""
    lab = emptied_lab
    lab.ask("CREATE TABLE t (n int PRIMARY KEY)")
    have(lab, "t")
    with lab.session() as early, lab.session() as late:
        early.execute("BEGIN; INSERT INTO t VALUES (1)")
        late.execute("BEGIN; INSERT INTO t VALUES (2); SAVEPOINT s; INSERT INTO t VALUES (3)")
        late.execute("ROLLBACK TO s; SAVEPOINT u; INSERT INTO t VALUES (4); COMMIT")
        early.execute("COMMIT; BEGIN; INSERT INTO t VALUES (5)")
        all_of_them = read(lab, slot)
        early.execute("ROLLBACK")
    values = [[c.new["n"] for c in t.changes] for t in all_of_them]
    assert values == [["2", "4"], ["1"]]
    first, second = (t.end for t in all_of_them)
    assert read(lab, slot, after=first) == all_of_them[1:]
    assert read(lab, slot, after=second) == []
    assert read(lab, slot, up_to=first) == all_of_them[:1]
    with lab.session() as connection, lab.session() as other:
        reading = transactions(connection, slot, PUBLICATION)
        assert next(reading) == all_of_them[0]
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert list(transactions(other, slot, PUBLICATION)) == all_of_them
        reading.close()
    assert lab.ask("SELECT slot_name FROM pg_replication_slots") == [(slot,)]


def test_pages_end_between_transactions(emptied_lab: Lab, slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = emptied_lab
    monkeypatch.setattr(changes, "PAGE", 10)
    lab.ask("CREATE TABLE t (n int PRIMARY KEY, data bytea)")
    have(lab, "t")
    for start, rows_of_it in ((0, 3), (10, 3), (20, 50), (100, 8), (200, 1)):
        lab.ask(
            f"INSERT INTO t SELECT n, '\\x00ff' FROM generate_series({start}, {start + rows_of_it - 1}) n"
        )
    found = read(lab, slot)
    assert [len(t.changes) for t in found] == [3, 3, 50, 8, 1]
    assert found[-1].changes[0].new == {"n": "200", "data": "\\x00ff"}
    assert read(lab, slot, after=found[2].end) == found[3:]


def test_acknowledged_is_read_though_not_on_the_disk_yet(emptied_lab: Lab, slot: str) -> None:
    lab = emptied_lab
    lab.ask("CREATE TABLE t (n int PRIMARY KEY)")
    have(lab, "t")
    with lab.session() as writer:
        writer.execute("SET synchronous_commit = off")
        for n in range(5):
            writer.execute("INSERT INTO t VALUES (%s)", (n,))
            assert len(read(lab, slot)) == n + 1


def test_values_read_alike_whatever_the_session_is_set_to(emptied_lab: Lab, slot: str) -> None:
    lab = emptied_lab
    lab.ask("CREATE TABLE t (n int PRIMARY KEY, at timestamptz, i interval, f float8, d date)")
    have(lab, "t")
    lab.ask("INSERT INTO t VALUES (1, '2026-07-01 12:00+02', '1 day 2 hours', 0.1, '2026-01-02')")
    with lab.session() as connection:
        connection.execute(
            "SET datestyle = 'German'; SET timezone = 'Asia/Shanghai'; SET extra_float_digits = -5"
        )
        connection.execute(
            "SET intervalstyle = iso_8601; SET statement_timeout = '1ms'; SET client_encoding = latin1"
        )
        with pytest.raises(Exception, match="statement timeout"):
            connection.execute("SELECT pg_sleep(1)")
        connection.execute("SET statement_timeout = '5s'")
        (found,) = transactions(connection, slot, PUBLICATION)
        assert connection.execute("SHOW timezone").fetchone() == ("Asia/Shanghai",)
    assert found.changes[0].new == {
        "n": "1", "at": "2026-07-01 10:00:00+00", "i": "1 day 02:00:00", "f": "0.1", "d": "2026-01-02",
    }  # fmt: skip


def test_a_transaction_of_ours_is_known(emptied_lab: Lab, slot: str) -> None:
    lab = emptied_lab
    lab.ask("CREATE TABLE t (n int PRIMARY KEY)")
    have(lab, "t")
    with lab.session(autocommit=False) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        changes.mark(connection, "0001_one")
        connection.commit()
        connection.execute("SELECT pg_logical_emit_message(true, 'somebody', 'lastgood')")
        connection.execute("SELECT pg_logical_emit_message(false, 'lastgood', 'x')")
        connection.execute("INSERT INTO t VALUES (2)")
        connection.commit()
    assert [t.own for t in read(lab, slot)] == [True, False]


def test_positions_compare_as_numbers() -> None:
    assert changes.number("A/FF") > changes.number("9/FFFFFFFF")
    assert changes.position(changes.number("1A/16B3748")) == "1A/16B3748"


def test_a_row_that_moved_to_another_partition_is_one_change_again() -> None:
    orders = Relation("public", "orders", ("id", "day", "total"), ("id", "day"), 7)
    same = Relation("public", "orders", ("id", "day", "total"), ("id", "day"), 7)
    gone = Change(Kind.DELETE, orders, {"id": "1", "day": "mon"})
    come = Change(Kind.INSERT, same, {}, {"id": "1", "day": "tue", "total": "5"})
    other = Change(Kind.INSERT, orders, {}, {"id": "2", "day": "tue", "total": "5"})

    def of(*changes: Change, keys: Mapping[int, frozenset[str]]) -> tuple[Change, ...]:
        return rejoined(Transaction(1, "0/1", 0.0, changes), keys).changes

    day = {7: frozenset({"day"})}
    assert of(gone, come, keys=day) == (Change(Kind.UPDATE, same, gone.old, come.new),)
    assert of(gone, other, keys=day) == (gone, other), "another row"
    assert of(gone, other, come, keys=day) == (gone, other, come), "not right after it"
    assert of(gone, come, keys={}) == (gone, come), "a table without partitions"
    assert of(gone, come, keys={7: frozenset({"id", "day"})}) == (gone, come), "nothing of the key stays"


def test_decoding_does_not_begin_at_what_is_over(emptied_lab: Lab, slot: str) -> None:
    """A slot that was advanced still begins where the server last noted what ran, which is seldom."""
    begins = f"SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = '{slot}'"
    lab = emptied_lab
    before = lab.ask(begins)
    with lab.session() as connection:
        for _ in range(2):
            lab.ask("CREATE TABLE more (id int); DROP TABLE more")
            changes.settle(connection)
            changes.advance(connection, slot, changes.now(connection))
    assert lab.ask(begins) > before
    assert lab.ask("SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE '%settling%'") == []


def test_whoever_runs_a_long_transaction_holds_nobody_up(emptied_lab: Lab, slot: str) -> None:
    with emptied_lab.session() as busy, emptied_lab.session() as connection:
        busy.execute("BEGIN; CREATE TABLE busy (id int)")
        changes.settle(connection)
        left = emptied_lab.ask("SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE '%settling%'")
        assert left == []
        changes.advance(connection, slot, changes.now(connection))


def test_a_position_is_where_a_record_ends(emptied_lab: Lab) -> None:
    """One in the middle of a commit that is being written leaves that commit out on both sides of it."""
    lab = emptied_lab
    with lab.session() as connection, lab.session() as other:
        connection.execute("CREATE EXTENSION pg_walinspect")
        before = lab.ask("SELECT pg_current_wal_insert_lsn()::text")[0][0]
        found = []
        for _ in range(3):
            found.append(changes.now(connection))
            other.execute("CREATE TABLE IF NOT EXISTS a (id int)")
        ends = connection.execute(
            "SELECT end_lsn::text FROM pg_get_wal_records_info(%s::text::pg_lsn, pg_current_wal_flush_lsn()) "
            "WHERE resource_manager = 'LogicalMessage'",
            (before,),
        ).fetchall()
        assert found == [end for (end,) in ends]
        connection.execute("DROP EXTENSION pg_walinspect")
