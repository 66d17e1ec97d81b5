"""Any schema, any bad migration, any writers: no acknowledged write is lost, none is there twice."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import uuid
from pathlib import Path

from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from lastgood.domain.errors import Rejected
from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.mariadb.connection import quoted
from lastgood.testing.conformance_migrates import script
from lastgood.testing.mariadb_server import MariadbServer
from tests.drivers.dying import arm
from tests.drivers.mariadb.conftest import Lab, Tools
from tests.drivers.mariadb.shoppers import UNIQUE, Shopper, Texts, read_outcome
from tests.drivers.postgresql.shoppers import Row, Table, wrong
from tests.drivers.postgresql.waiting import until

_servant = multiprocessing.get_context("forkserver")
"""Not a fork: writers run beside."""
KILLS = [
    "", ">restore.make_like", ">restore.Ledger.begin", ">salvage.Salvager._commit", ">restore.Ledger.fence",
    ">fence.Fence._prepare", ">fence.Fence._closed", "<numbers.surpass", "<fence.Fence._judge",
    ">restore.Ledger.swapped",
]  # fmt: skip
"""Points that every restore comes to; empty: nobody dies."""
ROWS = 20
WRITERS = 3

names = st.sampled_from(["a", "b c", 'd"e', "select", "ü", "per%s"])


@st.composite
def schemas(draw: st.DrawFn) -> tuple[list[Table], list[str]]:
    """One to three tables, each but the first with a foreign key to the one before."""
    tables: list[Table] = []
    ddl: list[str] = []
    for name in draw(
        st.lists(st.sampled_from(["orders", "items", "pay`ments"]), min_size=1, max_size=3, unique=True)
    ):
        columns = {
            c: draw(st.sampled_from(UNIQUE))
            for c in draw(st.lists(names, min_size=1, max_size=4, unique=True))
        }
        parent = tables[-1].name if tables else ""
        tables.append(Table(name, columns, parent))
        parts = [draw(st.sampled_from(["id int PRIMARY KEY", "id int AUTO_INCREMENT PRIMARY KEY"]))]
        parts.append("uid varchar(40) NOT NULL")
        parts += [f"{quoted(c)} {kind}" for c, kind in columns.items()]
        if parent:
            act = draw(st.sampled_from(["", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE"]))
            parts.append(f"parent int, FOREIGN KEY (parent) REFERENCES {quoted(parent)} (id) {act}")
        if draw(st.booleans()):
            kind = draw(st.sampled_from(["STORED", "VIRTUAL"]))
            parts.append(f"made varchar(50) AS (CONCAT(uid, 'x')) {kind}")
        if draw(st.booleans()):
            parts.append("UNIQUE (uid)")
        ddl.append(f"CREATE TABLE {quoted(name)} ({', '.join(parts)})")
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
            f"UPDATE {name} a JOIN {name} b ON b.id = a.id - 1 SET a.{quoted(column)} = b.{quoted(column)}",
            f"DELETE FROM {name} WHERE {some}",
            f"INSERT INTO {name} (id, uid) SELECT seq, CONCAT('migration-', seq) FROM seq_500_to_520",
            f"UPDATE {name} SET id = id + 100000 WHERE {some} AND id < 1000",
            f"DELETE FROM {name}",
            f"ALTER TABLE {name} ADD COLUMN extra varchar(10) NOT NULL DEFAULT 'x'",
            f"ALTER TABLE {name} DROP COLUMN {quoted(column)}",
            "CREATE TABLE more (id int PRIMARY KEY)",
        ])))  # fmt: skip
    return ";\n".join(statements)


@settings(
    max_examples=4, deadline=None, derandomize=False, phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data(), seed=st.integers(0, 1 << 30))
def test_no_acknowledged_write_is_lost(server: MariadbServer, data: st.DataObject, seed: int) -> None:
    tables, ddl = data.draw(schemas())
    lab = Lab(server, "shop_" + uuid.uuid4().hex[:8], Tools(Path(tempfile.mkdtemp())))
    lab.ask(f"CREATE DATABASE {lab.name} CHARACTER SET utf8mb4", "")
    try:
        for statement in ddl:
            lab.ask(statement)
        kill = data.draw(st.sampled_from(KILLS))
        _one_day(lab, tables, data.draw(migrations(tables)), seed, kill)
    finally:
        for name in lab.databases():
            if name.startswith(lab.name):
                lab.ask(f"DROP DATABASE `{name}`", "")


def _die(lab: Lab, taken: Snapshot, point: str) -> None:
    arm("mariadb", point)
    driver = lab.driver(lock_timeout=5, lock_deadline=20)
    driver.prepare_copy(taken, "r")
    driver.carry_over(taken, "r", ())
    driver.swap(taken, "r", ())


def _one_day(lab: Lab, tables: list[Table], deploy: str, seed: int, kill: str) -> None:
    """``kill``: where a first process of the restore dies, while everybody writes."""
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
            shopper.allowed = 60
        try:
            driver.deploy(script("0001_bad", deploy + ";", "SELECT 1;", "SELECT 1;"), "bad")
            event("migrated")
        except Rejected as error:
            event(f"not migrated: {error.cause}")
        until(lambda: all(s.acts == s.allowed for s in shoppers))
        driver.refuse_restore(taken, ())
        if kill:
            event(kill)
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
    _check_numbers(lab, tables, swapped.failed)
    outcome = read_outcome(lab, tables)
    rows = [row for shopper in shoppers for row in shopper.rows]
    found = list(wrong(outcome, rows, Texts(lab, tables)))
    assert found == [], found[:5]
    touched = {row.uid for row in rows}
    for table, kept in before.rows.items():
        for uid, values in kept.items():
            if uid not in touched:
                assert outcome.rows[table].get(uid) == values, f"{uid}, which the shop never touched"
    assert not any(uid.startswith("migration-") for kept in outcome.rows.values() for uid in kept)


def _check_numbers(lab: Lab, tables: list[Table], failed: str) -> None:
    question = (
        "SELECT auto_increment FROM information_schema.tables WHERE table_schema = '{}' AND table_name = '{}'"
    )
    for table in tables:
        (ours,), (theirs,) = (lab.ask(question.format(name, table.name))[0] for name in (lab.name, failed))
        assert theirs is None or int(str(ours)) >= int(str(theirs))


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
