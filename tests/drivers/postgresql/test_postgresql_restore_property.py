"""Any schema, any bad migration, any writers: no acknowledged write is lost, none is there twice."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from psycopg import sql

from lastgood.domain.errors import Rejected
from lastgood.domain.restore_point import Snapshot
from lastgood.testing.conformance_migrates import script
from lastgood.testing.postgres_server import PostgresServer
from tests.drivers.dying import arm
from tests.drivers.postgresql.conftest import Lab, Tools
from tests.drivers.postgresql.shoppers import UNIQUE, Outcome, Row, Shopper, Table, wrong
from tests.drivers.postgresql.waiting import until

_servant = multiprocessing.get_context("forkserver")
"""Not a fork: writers run beside."""
ROWS = 30
WRITERS = 3
KILLS = [
    "", ">restore.Ledger.begin", ">changes.branch", "<salvage.Salvager._commit", ">salvage.Salvager._commit",
    ">fence._allow", ">fence.end_sessions", "<sequences.surpass", ">fence.dress", "<fence.rename",
    ">fence.rename", "<restore.Ledger.settle_down",
]  # fmt: skip
"""Points that every restore comes to; empty: nobody dies."""
JUNK = "SELECT n, 'migration-' || n FROM generate_series(500, 520) n"

names = st.sampled_from(["a", "b c", 'd"e', "select", "ü"])


@st.composite
def schemas(draw: st.DrawFn) -> tuple[list[Table], str]:
    """One to three tables, each but the first with a foreign key to the one before."""
    tables: list[Table] = []
    ddl: list[str] = []
    for name in draw(
        st.lists(st.sampled_from(["orders", "items", 'pay"ments']), min_size=1, max_size=3, unique=True)
    ):
        columns = {
            c: draw(st.sampled_from(UNIQUE))
            for c in draw(st.lists(names, min_size=1, max_size=4, unique=True))
        }
        parent = tables[-1].name if tables else ""
        tables.append(Table(name, columns, parent))
        parts = [
            draw(
                st.sampled_from(
                    [
                        "id int PRIMARY KEY",
                        "id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                        "id serial PRIMARY KEY",
                    ]
                )
            )
        ]
        parts.append("uid text NOT NULL")
        parts += [f"{quoted(c)} {kind}" for c, kind in columns.items()]
        if parent:
            act = draw(
                st.sampled_from(
                    [
                        "",
                        "ON DELETE CASCADE",
                        "DEFERRABLE INITIALLY DEFERRED",
                        "DEFERRABLE",
                        "ON DELETE SET NULL",
                        "ON UPDATE CASCADE",
                    ]
                )
            )
            parts.append(f"parent int REFERENCES {quoted(parent)} {act}")
        if draw(st.booleans()):
            parts.append("made text GENERATED ALWAYS AS (uid || 'x') STORED")
        if draw(st.booleans()):
            parts.append("UNIQUE (uid)")
        ddl.append(f"CREATE TABLE {quoted(name)} ({', '.join(parts)})")
    return tables, "; ".join(ddl)


@st.composite
def migrations(draw: st.DrawFn, tables: list[Table]) -> str:
    """Statements that do harm, and some that only change the shape."""
    statements = []
    for _ in range(draw(st.integers(1, 3))):
        table = draw(st.sampled_from(tables))
        name, column = quoted(table.name), draw(st.sampled_from(sorted(table.columns)))
        some = f"id % {draw(st.integers(1, 4))} = 0"
        other = f"(SELECT o.{quoted(column)} FROM {name} o ORDER BY id LIMIT 1)"
        statements.append(draw(st.sampled_from([
            f"UPDATE {name} SET {quoted(column)} = {other} WHERE {some}",
            f"UPDATE {name} SET {quoted(column)} = NULL WHERE {some}",
            f"DELETE FROM {name} WHERE {some}",
            f"INSERT INTO {name} (id, uid) OVERRIDING SYSTEM VALUE {JUNK}",
            f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS added int NOT NULL DEFAULT 7",
            f"ALTER TABLE {name} ADD filled text; UPDATE {name} SET filled = 'f' || id WHERE {some}",
            f"ALTER TABLE {name} DROP COLUMN IF EXISTS {quoted(column)}",
            f"ALTER TABLE {name} RENAME TO renamed_{len(statements)}",
            f"UPDATE {name} SET id = id + 100000 WHERE {some} AND id < 1000",
            f"TRUNCATE {name} CASCADE",
        ])))  # fmt: skip
    return ";\n".join(statements)


def quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


@pytest.mark.timeout(300)
@settings(
    max_examples=4, deadline=None, derandomize=False, phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data(), seed=st.integers(0, 1 << 30))
def test_no_acknowledged_write_is_lost(server: PostgresServer, data: st.DataObject, seed: int) -> None:
    tables, ddl = data.draw(schemas())
    with lab_of(server) as lab:
        lab.ask(ddl)
        mechanism, kill = data.draw(st.sampled_from(["file", "warm"])), data.draw(st.sampled_from(KILLS))
        done = _one_day(lab, tables, data.draw(migrations(tables)), seed, mechanism, kill)
        event(f"{mechanism}, {kill}: {done}")


def _die(lab: Lab, taken: Snapshot, point: str) -> None:
    arm("postgresql", point)
    driver = lab.driver(lock_timeout=5, lock_deadline=30)
    driver.prepare_copy(taken, "r")
    driver.carry_over(taken, "r", ())
    driver.swap(taken, "r", ())


@contextmanager
def lab_of(server: PostgresServer) -> Iterator[Lab]:
    lab = Lab(server, "shop_" + uuid.uuid4().hex[:8], Tools(Path(tempfile.mkdtemp())))
    lab.ask(f"CREATE DATABASE {lab.name}", name="postgres")
    try:
        yield lab
    finally:
        for name in lab.databases():
            if name.startswith(lab.name):
                lab.ask(f'DROP DATABASE "{name}" WITH (FORCE)', name="postgres")


def _one_day(
    lab: Lab, tables: list[Table], deploy: str, seed: int, mechanism: str = "file", kill: str = ""
) -> str:
    """``mechanism``: whether the copy is loaded from the file for the restore, or stood by before. ``kill``:
    where a first process of the restore dies, while everybody writes.
    """
    driver = lab.driver(lock_timeout=5, lock_deadline=30)
    mine = [_seeded(lab, tables, number) for number in range(WRITERS)]
    taken = driver.capture("cut")
    shoppers = [Shopper(lab, n, tables, mine[n], seed + n) for n in range(WRITERS)]
    before = Outcome.read(lab, tables)
    for shopper in shoppers:
        shopper.start()
    try:
        if mechanism == "warm":
            assert driver.warm_copy(taken).usable
            (lab.tools.directory / "snapshots" / f"{taken.id}.dump").unlink()
        until(lambda: all(s.acts == s.allowed for s in shoppers))
        for shopper in shoppers:
            shopper.allowed = 100
        try:
            driver.deploy(script("0001_bad", deploy + ";", "SELECT 1;", "SELECT 1;"), "bad")
            deployed = "migrated"
        except Rejected as error:
            deployed = f"not migrated: {error.cause}"
        until(lambda: all(s.acts == s.allowed for s in shoppers))
        driver.refuse_restore(taken, ())
        if kill:
            for shopper in shoppers:
                shopper.allowed += 10
            first = _servant.Process(target=_die, args=(lab, taken, kill))
            first.start()
            first.join(60)
            assert first.exitcode == -signal.SIGKILL, f"it did not come to {kill}"
        driver.prepare_copy(taken, "r")
        driver.carry_over(taken, "r", ())
        for shopper in shoppers:
            shopper.allowed = 1 << 30
        swapped = driver.swap(taken, "r", ())
    finally:
        for shopper in shoppers:
            shopper.over.set()
        for shopper in shoppers:
            shopper.join()
    assert driver.fingerprint() == taken.fingerprint
    assert driver.swap(taken, "r", ()) == swapped
    outcome = Outcome.read(lab, tables)
    rows = [row for shopper in shoppers for row in shopper.rows]
    found = list(wrong(outcome, rows, _Texts(lab, tables)))
    assert found == [], found[:5]
    touched = {row.uid for row in rows}
    for table, kept in before.rows.items():
        for uid, values in kept.items():
            if uid not in touched:
                assert outcome.rows[table].get(uid) == values, f"{uid}, which the shop never touched"
    assert not any(uid.startswith("migration-") for kept in outcome.rows.values() for uid in kept)
    return deployed


@pytest.mark.timeout(45)
def test_writers_that_never_pause_do_not_keep_a_restore_from_ending(server: PostgresServer) -> None:
    """Rows that refer to what the copy has otherwise, and values that it has no column for, all the time."""
    tables = [
        Table("items", {"ü": "text", "a": "int", 'd"e': "text", "select": "boolean[]"}, ""),
        Table("orders", {"select": "jsonb", "ü": "varchar(30)", "b c": "float8", "a": "boolean[]"}, "items"),
    ]
    spoil = """TRUNCATE orders CASCADE;
        UPDATE items SET "d""e" = NULL WHERE id % 4 = 0;
        ALTER TABLE items ADD filled text;
        UPDATE items SET filled = 'f' || id WHERE id % 2 = 0"""
    with lab_of(server) as lab:
        lab.ask("""
            CREATE TABLE items (
                id int PRIMARY KEY, uid text NOT NULL, "ü" text, a int, "d""e" text, "select" boolean[]);
            CREATE TABLE orders (
                id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, uid text NOT NULL, "select" jsonb,
                "ü" varchar(30), "b c" float8, a boolean[],
                parent int REFERENCES items DEFERRABLE INITIALLY DEFERRED)""")
        assert _one_day(lab, tables, spoil, 7) == "migrated"


def _seeded(lab: Lab, tables: list[Table], number: int) -> list[Row]:
    """Rows that are there at the cut; half of them the writer knows of."""
    shopper = Shopper(lab, number, tables, [], number)
    with lab.session() as connection:
        for _ in range(ROWS):
            shopper.insert(connection)
    return shopper.rows[: len(shopper.rows) // 2]


class _Texts:
    """Values as the server writes them."""

    def __init__(self, lab: Lab, tables: list[Table]) -> None:
        self._connection = lab.session()
        self._kinds = {f"{t.name}.{c}": kind for t in tables for c, kind in t.columns.items()}
        self._known: dict[tuple[str, str], str] = {}

    def __call__(self, column: str, value: Any) -> str:
        known = self._known.get((column, repr(value)))
        if known is None:
            self._connection.execute("SET timezone = 'UTC'; SET extra_float_digits = 1")
            question = f"SELECT concat(%s::{self._kinds[column]})"
            row = self._connection.execute(question, (value,)).fetchone()
            assert row is not None
            known = self._known[column, repr(value)] = str(row[0])
        return known


def test_the_checker_sees_what_is_lost() -> None:
    row = Row("orders", "u1", 1, {"a": 5})
    lost = Outcome({"orders": {}}, [])
    other = Outcome({"orders": {"u1": {"id": "1", "a": "4"}}}, [])
    listed = Outcome({"orders": {"u1": {"id": "1", "a": "4"}}}, [("orders", "a", "5")])
    there = Outcome({"orders": {"u1": {"id": "1", "a": "5"}}}, [])
    complaints = [len(list(wrong(o, [row], lambda _, v: str(v)))) for o in (lost, other, listed, there)]
    assert complaints == [1, 1, 0, 0]
