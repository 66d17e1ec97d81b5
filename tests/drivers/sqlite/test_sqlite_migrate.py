"""Migrations of a file: what is refused, what is put aside, who is waited for."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.plan import Reversibility
from lastgood.drivers.sqlite.classify import classify
from lastgood.drivers.sqlite.scan import split
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.sqlite.conftest import Lab

EXACT, BY_SNAPSHOT = Reversibility.EXACT, Reversibility.BY_SNAPSHOT
# The library's own procedure for a change that ALTER TABLE can't make.
ANEW = script(
    "0002_anew",
    "CREATE TABLE new_orders (id integer PRIMARY KEY, note text NOT NULL CHECK (length(note) < 100));\n"
    "INSERT INTO new_orders SELECT id, note FROM orders;\nDROP TABLE orders;\n"
    "ALTER TABLE new_orders RENAME TO orders;\nCREATE INDEX orders_by_note ON orders (note);",
    "SELECT note FROM orders WHERE 1 = 0;",
    "CREATE TABLE old (id integer PRIMARY KEY, note text NOT NULL); INSERT INTO old SELECT * FROM orders; "
    "DROP TABLE orders; ALTER TABLE old RENAME TO orders; CREATE INDEX orders_by_note ON orders (note);",
)
LINES = (
    "CREATE TABLE lines (id integer PRIMARY KEY, order_id integer REFERENCES orders (id) ON DELETE CASCADE);"
)


@pytest.fixture
def mode() -> str:
    return "delete"


@pytest.fixture
def orders(lab: Lab) -> Lab:
    lab.driver().deploy(ORDERS, KEY)
    lab.script(
        f"{LINES} INSERT INTO orders VALUES (1, 'a'), (2, 'b'); INSERT INTO lines VALUES (1, 1), (2, 1);"
    )
    return lab


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("PRAGMA foreign_keys = OFF", "PRAGMA"), ("VACUUM", "beyond the transaction"),
        ("ATTACH 'x' AS y", "beyond the transaction"), ("CREATE TEMP TABLE t (x)", "only its session"),
        ("END", "controls the transaction"), (".read x", "command of the client"),
    ],
    ids=["pragma", "vacuum", "attach", "temp", "end", "client"],
)  # fmt: skip
def test_what_can_not_be_in_a_transaction_is_refused(lab: Lab, statement: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as caught:
        lab.driver().deploy(script("0001_x", f"SELECT 1;\n{statement};", "SELECT 1", "SELECT 1"), KEY)
    assert "line 2" in str(caught.value)
    seen = lab.driver().classify(script("0001_x", statement, "SELECT 1", "SELECT 1"))
    assert seen.reversibility is Reversibility.FORWARD_ONLY


def test_a_trigger_is_one_statement() -> None:
    trigger = "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT CASE WHEN 1 THEN 2 END; SELECT ';'; END"
    assert [s.text for s in split(f"SELECT 1; {trigger};\nSELECT 2", "f")] == [
        "SELECT 1",
        trigger,
        "SELECT 2",
    ]


def test_a_table_made_anew_keeps_the_rows_that_refer_to_it(orders: Lab) -> None:
    driver = orders.driver()
    before = driver.fingerprint()
    driver.deploy(ANEW, KEY)
    assert orders.ask("SELECT count(*) FROM lines") == [(2,)]
    driver.revert(ANEW, KEY)
    assert driver.fingerprint() == before
    assert orders.ask("SELECT count(*) FROM lines WHERE order_id = 1") == [(2,)]


def test_rows_that_refer_to_nothing_are_refused(orders: Lab) -> None:
    bad = script("0002_bad", "DELETE FROM orders WHERE id = 1;", "SELECT 1;", "SELECT 1;")
    with pytest.raises(Rejected, match="leaves 2 rows of lines without the row of orders") as caught:
        orders.driver().deploy(bad, KEY)
    assert caught.value.cause is Cause.SCRIPT_ERROR
    assert orders.ask("SELECT count(*) FROM orders") == [(2,)]
    # What was so before is nobody's fault.
    with contextlib.closing(sqlite3.connect(orders.path, isolation_level=None)) as careless:
        careless.execute("DELETE FROM orders WHERE id = 1")
    orders.driver().deploy(GIFTS, KEY)


def test_what_a_revert_removes_comes_back(orders: Lab) -> None:
    driver = orders.driver()
    driver.deploy(GIFTS, KEY)
    orders.script(
        "UPDATE orders SET gift = CAST(x'41004200' AS TEXT) WHERE id = 1; INSERT INTO gifts VALUES (7), (8);"
    )
    put = {"orders.gift": 1, "gifts": 2}
    assert driver.revert(GIFTS, "r/1") == put
    assert orders.driver().revert(GIFTS, "r/1") == put, "asked again"
    assert driver.deploy(GIFTS, "r/2") == put
    assert orders.driver().deploy(GIFTS, "r/2") == put
    assert orders.ask("SELECT hex(gift) FROM orders ORDER BY id") == [("41004200",), ("",)]
    assert orders.ask("SELECT id FROM gifts") == [(7,), (8,)]


def test_what_refers_to_a_row_that_is_gone_stays_aside(orders: Lab) -> None:
    notes = script(
        "0002_notes",
        "CREATE TABLE notes (order_id integer REFERENCES orders (id));",
        "SELECT order_id FROM notes WHERE 1 = 0;",
        "DROP TABLE notes;",
    )
    driver = orders.driver()
    driver.deploy(notes, KEY)
    orders.ask("INSERT INTO notes VALUES (2)")
    assert driver.revert(notes, "r/1") == {"notes": 1}
    orders.ask("DELETE FROM orders WHERE id = 2")
    assert driver.deploy(notes, "r/2") == {"notes": 0}
    assert orders.ask("SELECT c1 FROM lastgood_kept_1") == [(2,)]


def test_a_renamed_column_is_nothing_added(orders: Lab) -> None:
    rename = script(
        "0002_rename",
        "ALTER TABLE orders RENAME COLUMN note TO remark; ALTER TABLE lines RENAME TO rows;",
        "SELECT remark FROM orders WHERE 1 = 0;",
        "ALTER TABLE orders RENAME COLUMN remark TO note; ALTER TABLE rows RENAME TO lines;",
    )
    before = orders.driver().fingerprint()
    orders.driver().deploy(rename, KEY)
    assert orders.driver().revert(rename, KEY) == {}
    assert orders.driver().fingerprint() == before


def test_who_has_the_lock_is_named_and_waited_for(orders: Lab) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(orders.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stdin is not None
    assert program.stdout.readline() == "held\n"
    with pytest.raises(Rejected, match=rf"pid {program.pid} \(.*\), writing") as caught:
        orders.driver().deploy(GIFTS, KEY)
    assert caught.value.cause is Cause.TABLE_LOCK
    program.stdin.close()
    orders.driver(lock_deadline=20).deploy(GIFTS, KEY)
    program.wait()
    assert orders.ask("SELECT count(*) FROM orders") == [(3,)]


_HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO orders VALUES (3, 'c')")
print("held", flush=True)
sys.stdin.read()
connection.execute("COMMIT")
"""


def test_a_statement_has_its_time(lab: Lab) -> None:
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(Rejected, match=r"deploy\.sql of 0001_x fails in line 1") as caught:
        lab.driver(statement_timeout=0.05).deploy(script("0001_x", endless, "SELECT 1", "SELECT 1"), KEY)
    assert "statement_timeout" in str(caught.value.todo)


def test_no_file_is_made_where_a_path_is_wrong(lab: Lab) -> None:
    driver = lab.driver(url=f"sqlite://{lab.path}x")
    with pytest.raises(Rejected, match="there is no database file") as caught:
        driver.deploy(ORDERS, KEY)
    assert caught.value.cause is Cause.WRONG_PATH
    assert lab.databases() == [str(lab.path)]
    lab.path.with_name("shop.dbx").write_text("no database at all, but long enough to be one" * 100)
    with pytest.raises(Rejected, match="no database, or damaged"):
        driver.applied()


@pytest.mark.parametrize(
    ("url", "why"),
    [("sqlite://relative.db", "absolute"), ("sqlite:///x.db?mode=ro", "can't be read"), (None, "absolute")],
    ids=["relative", "query", "none"],
)
def test_settings_that_are_wrong_are_named(lab: Lab, url: str | None, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        lab.driver(url=url)
    with pytest.raises(InvalidInput, match="unknown setting 'path'"):
        lab.driver(path="x")


@pytest.mark.parametrize(
    ("deploy", "wanted"),
    [
        ("CREATE TABLE t (x)", EXACT), ("ALTER TABLE t ADD COLUMN y text", EXACT),
        ("CREATE VIRTUAL TABLE f USING fts5 (x)", EXACT), ("UPDATE t SET x = 0", BY_SNAPSHOT),
        ("REPLACE INTO t VALUES (1)", BY_SNAPSHOT), ("ALTER TABLE t DROP COLUMN x", BY_SNAPSHOT),
        ("DROP TABLE t", BY_SNAPSHOT), (ANEW.deploy, BY_SNAPSHOT), ("nonsense", Reversibility.FORWARD_ONLY),
    ],
    ids=["table", "column", "virtual", "update", "replace", "drop column", "drop", "anew", "nonsense"],
)  # fmt: skip
def test_classes(deploy: str, wanted: Reversibility) -> None:
    assert classify(script("0001_x", deploy, "SELECT 1", "SELECT 1")).reversibility is wanted


def test_a_snapshot_under_a_writer_is_of_one_moment(lab: Lab) -> None:
    """In both modes; here with a rollback journal, where each write makes a copy begin anew."""
    lab.script("CREATE TABLE pairs (n integer PRIMARY KEY, twin integer); INSERT INTO pairs VALUES (0, 0);")
    lab.script("CREATE TABLE bulk (b); INSERT INTO bulk VALUES (zeroblob(20000000));")
    program = subprocess.Popen(
        [sys.executable, "-c", _PAIRS, str(lab.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    program.stdout.readline()
    taken = lab.driver(lock_timeout=2, lock_deadline=20).snapshot("one")
    program.kill()
    program.communicate()
    assert lab.driver().prove(taken).proven_at is not None
    assert b"SQLite format" not in Path(taken.path).read_bytes()[:200], "it is sealed"
    clear = lab.path.with_name("clear.db")
    with Path(taken.path).open("rb") as source, clear.open("wb") as to:
        lab.tools.vault.unseal_stream(source, to)
    with contextlib.closing(sqlite3.connect(clear)) as copy:
        ((pairs,),) = copy.execute("SELECT count(*) FROM pairs WHERE n > 0")
        assert copy.execute("SELECT count(*) FROM pairs WHERE twin <> -n").fetchall() == [(0,)]
    assert 0 < pairs < lab.ask("SELECT count(*) FROM pairs")[0][0]


_PAIRS = """
import select, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
n = 0
while True:
    n += 1
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO pairs VALUES (?, 0)", (n,))
    connection.execute("UPDATE pairs SET twin = -n WHERE n = ?", (n,))
    connection.execute("COMMIT")
    print(n, flush=True)
    select.select([], [], [], 0.001)
"""
