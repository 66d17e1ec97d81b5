"""Any schema, any bad migration, any writers: no acknowledged write is lost, none is there twice."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from lastgood.domain.errors import Rejected
from lastgood.drivers.sqlite.connection import quoted
from lastgood.testing.conformance_migrates import script
from tests.drivers.postgresql.shoppers import Row, Table, wrong
from tests.drivers.postgresql.waiting import until
from tests.drivers.sqlite.conftest import Lab
from tests.drivers.sqlite.shoppers import KINDS, Shopper, Texts, read_outcome

ROWS = 16
WRITERS = 2
KEYS = ("id INTEGER PRIMARY KEY", "id INTEGER PRIMARY KEY AUTOINCREMENT", "id INT PRIMARY KEY NOT NULL")

names = st.sampled_from(["a", "b c", 'd"e', "select", "ü", "Key"])


@st.composite
def schemas(draw: st.DrawFn) -> tuple[list[Table], list[str]]:
    """One to three tables, each but the first with a foreign key to the one before."""
    tables: list[Table] = []
    ddl: list[str] = []
    for name in draw(
        st.lists(st.sampled_from(["orders", "items", "pay'ments"]), min_size=1, max_size=3, unique=True)
    ):
        columns = {
            c: draw(st.sampled_from(sorted(KINDS)))
            for c in draw(st.lists(names, min_size=1, max_size=4, unique=True))
        }
        parent = tables[-1].name if tables else ""
        tables.append(Table(name, columns, parent))
        parts = [draw(st.sampled_from(KEYS)), "uid text NOT NULL"]
        parts += [f"{quoted(c)} {kind}" for c, kind in columns.items()]
        if parent:
            act = draw(st.sampled_from(["", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE"]))
            parts.append(f"parent integer REFERENCES {quoted(parent)} (id) {act}")
        if draw(st.booleans()):
            parts.append("made text AS (uid || 'x') " + draw(st.sampled_from(["STORED", "VIRTUAL"])))
        if draw(st.booleans()):
            parts.append("UNIQUE (uid)")
        rowid = "AUTOINCREMENT" in parts[0] or draw(st.booleans())
        ddl.append(f"CREATE TABLE {quoted(name)} ({', '.join(parts)}){'' if rowid else ' WITHOUT ROWID'}")
        if draw(st.booleans()):
            ddl.append(f"CREATE TABLE {quoted(name + ' log')} (uid)")
            ddl.append(
                f"CREATE TRIGGER {quoted(name + ' noted')} AFTER UPDATE ON {quoted(name)} "
                f"BEGIN INSERT INTO {quoted(name + ' log')} VALUES (new.uid); END"
            )
    return tables, ddl


@st.composite
def migrations(draw: st.DrawFn, tables: list[Table]) -> str:
    """Statements that do harm, and some that only change the shape."""
    statements = []
    for _ in range(draw(st.integers(1, 3))):
        table = draw(st.sampled_from(tables))
        name, column = quoted(table.name), draw(st.sampled_from(sorted(table.columns)))
        some = f"id % {draw(st.integers(1, 4))} = 0"
        statements.append(draw(st.sampled_from([
            f"UPDATE {name} SET {quoted(column)} = NULL WHERE {some}",
            f"UPDATE {name} SET {quoted(column)} = (SELECT {quoted(column)} FROM {name} LIMIT 1)",
            f"DELETE FROM {name} WHERE {some}",
            f"INSERT INTO {name} (id, uid) VALUES (500, 'migration-500'), (501, 'migration-501')",
            f"UPDATE {name} SET id = id + 100000 WHERE {some} AND id < 100000",
            f"DELETE FROM {name}",
            f"ALTER TABLE {name} ADD COLUMN extra text NOT NULL DEFAULT 'x'",
            f"ALTER TABLE {name} DROP COLUMN {quoted(column)}",
            f"CREATE TABLE anew AS SELECT * FROM {name}; DELETE FROM {name}; "
            f"INSERT INTO {name} (id, uid) SELECT id + 1, uid FROM anew; DROP TABLE anew",
            "CREATE TABLE more (id integer PRIMARY KEY)",
        ])))  # fmt: skip
    return ";\n".join(statements)


@settings(
    max_examples=5, deadline=None, derandomize=False, phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data(), seed=st.integers(0, 1 << 30), mode=st.sampled_from(["delete", "wal"]))
def test_no_acknowledged_write_is_lost(data: st.DataObject, seed: int, mode: str) -> None:
    tables, ddl = data.draw(schemas())
    directory = Path(tempfile.mkdtemp(prefix="lastgood-test-sqlite-"))
    try:
        lab = Lab.make(directory, mode)
        for statement in ddl:
            lab.ask(statement)
        _one_day(lab, tables, data.draw(migrations(tables)), seed)
    finally:
        shutil.rmtree(directory)


def _one_day(lab: Lab, tables: list[Table], deploy: str, seed: int) -> None:
    driver = lab.driver(lock_timeout=5, lock_deadline=20)
    mine = [_seeded(lab, tables, number) for number in range(WRITERS)]
    taken = driver.capture("cut")
    shoppers = [Shopper(lab, n, tables, mine[n], seed + n) for n in range(WRITERS)]
    before = read_outcome(lab, tables)
    for shopper in shoppers:
        shopper.start()
    try:
        until(lambda: all(s.acts == s.allowed for s in shoppers))
        for shopper in shoppers:
            shopper.allowed = 50
        try:
            driver.deploy(script("0001_bad", deploy + ";", "SELECT 1;", "SELECT 1;"), "bad")
            event("migrated")
        except Rejected as error:
            event(f"not migrated: {error.cause}")
        until(lambda: all(s.acts == s.allowed for s in shoppers))
        driver.refuse_restore(taken, ())
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
    assert lab.ask("PRAGMA integrity_check") == [("ok",)]
    assert lab.ask("PRAGMA foreign_key_check") == []
    outcome = read_outcome(lab, tables)
    rows = [row for shopper in shoppers for row in shopper.rows]
    found = list(wrong(outcome, rows, Texts(tables)))
    assert found == [], found[:5]
    touched = {row.uid for row in rows}
    for table, kept in before.rows.items():
        for uid, values in kept.items():
            if uid not in touched:
                assert outcome.rows[table].get(uid) == values, f"{uid}, which the shop never touched"
    assert not any(uid.startswith("migration-") for kept in outcome.rows.values() for uid in kept)


def _seeded(lab: Lab, tables: list[Table], number: int) -> list[Row]:
    """Rows that are there at the cut; half of them the writer knows of."""
    shopper = Shopper(lab, number, tables, [], number)
    connection = lab.session()
    try:
        for _ in range(ROWS):
            shopper.insert(connection)
    finally:
        connection.close()
    return shopper.rows[: len(shopper.rows) // 2]
