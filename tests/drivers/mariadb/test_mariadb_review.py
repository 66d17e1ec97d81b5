"""What lint says of a statement is what the server does: it is asked for the weaker form, and answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from lastgood.domain.finding import Blocks, Finding
from lastgood.drivers.mariadb import driver as installed
from lastgood.drivers.mariadb.acts import COPY, SHARED
from lastgood.drivers.mariadb.review import review
from lastgood.ports.reviewing import Review, Reviews
from lastgood.testing.conformance_migrates import script
from tests.drivers.mariadb.conftest import Lab

TABLES = (
    "customers (id int PRIMARY KEY, name varchar(50))",
    "orders (id bigint AUTO_INCREMENT PRIMARY KEY, note varchar(40), qty int NOT NULL, n int, "
    "price numeric(8,2), customer int, body text, e enum('a','b'), u varchar(60) CHARACTER SET latin1, "
    "u3 varchar(50) CHARACTER SET utf8mb3, at datetime, nn varchar(20) NOT NULL DEFAULT 'x', "
    "KEY by_note (note)) DEFAULT CHARSET=utf8mb4",
    "nokey (id int, n int)",
    "searched (id int PRIMARY KEY, body text, FULLTEXT (body))",
    "computed (id int PRIMARY KEY, a int, v int AS (a + 1))",
    "computed_key (id int PRIMARY KEY, a int, v int AS (a + 1) VIRTUAL, KEY (v))",
    "old_text (id int PRIMARY KEY, a varchar(20), KEY (a)) DEFAULT CHARSET=utf8mb3",
    "parts (id int, y int, PRIMARY KEY (id, y)) PARTITION BY RANGE (y) "
    "(PARTITION p0 VALUES LESS THAN (5), PARTITION p1 VALUES LESS THAN (10))",
    "history (id int PRIMARY KEY, n int) WITH SYSTEM VERSIONING",
)
NAMES = [table.split()[0] for table in TABLES]
MADE = [f"CREATE TABLE {table}" for table in TABLES]
ROWS = [
    "INSERT INTO customers VALUES (1, 'a')",
    "INSERT INTO orders (id, note, qty, n, customer, e, nn, price) VALUES (1, 'x', 1, 1, 1, 'a', 'y', 2)",
    "INSERT INTO nokey VALUES (1, 1)",
]
SHOP = script("0001_shop", ";\n".join(MADE), "SELECT 1;", "DROP TABLE orders;")

COPIED = {
    "type": "ALTER TABLE orders MODIFY qty bigint NOT NULL",
    "narrower": "ALTER TABLE orders MODIFY note varchar(10)",
    "over 255 bytes": "ALTER TABLE orders MODIFY note varchar(64)",
    "scale": "ALTER TABLE orders MODIFY price numeric(10,2)",
    "sign": "ALTER TABLE orders MODIFY n int unsigned",
    "text": "ALTER TABLE orders MODIFY body longtext",
    "changed": "ALTER TABLE orders CHANGE at at datetime(6)",
    "charset": "ALTER TABLE orders MODIFY u varchar(60)",
    "another charset": "ALTER TABLE orders MODIFY note varchar(40) CHARACTER SET latin1",
    "wider charset": "ALTER TABLE orders MODIFY u3 varchar(80) CHARACTER SET utf8mb4",
    "enum": "ALTER TABLE orders MODIFY e enum('a','z','b')",
    "numbers": "ALTER TABLE nokey MODIFY id int AUTO_INCREMENT PRIMARY KEY",
    "stored": "ALTER TABLE orders ADD COLUMN total int AS (qty * 2) STORED",
    "persistent": "ALTER TABLE orders ADD total int GENERATED ALWAYS AS (qty * 2) PERSISTENT",
    "uuid": "ALTER TABLE orders ADD token varchar(40) DEFAULT (UUID())",
    "from a column": "ALTER TABLE orders ADD twice int NOT NULL DEFAULT (qty * 2)",
    "referring": "ALTER TABLE orders ADD c2 int REFERENCES customers (id)",
    "before computed": "ALTER TABLE computed ADD x int AFTER id",
    "check": "ALTER TABLE orders ADD CONSTRAINT sold CHECK (qty > 0)",
    "foreign": "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers (id)",
    "no key": "ALTER TABLE customers DROP PRIMARY KEY",
    "convert": "ALTER TABLE customers CONVERT TO CHARACTER SET latin1",
    "engine": "ALTER TABLE nokey ENGINE=MyISAM",
    "versioned": "ALTER TABLE orders ADD SYSTEM VERSIONING",
}
BUILT = {
    "full text": "ALTER TABLE orders ADD FULLTEXT (body)",
    "full text index": "CREATE FULLTEXT INDEX i ON orders (body)",
    "searched": "ALTER TABLE searched ADD x int",
    "searched anew": "ALTER TABLE searched FORCE",
    "indexed computed": "ALTER TABLE computed_key ADD x int",
    "numbered": "ALTER TABLE nokey ADD n2 int AUTO_INCREMENT UNIQUE",
    "no history": "ALTER TABLE history DROP SYSTEM VERSIONING",
}
QUICK = [
    "ALTER TABLE orders ADD x int",
    "ALTER TABLE orders ADD x int NOT NULL DEFAULT 5 AFTER id",
    "ALTER TABLE orders ADD x timestamp DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, ADD y int",
    "ALTER TABLE orders ADD x double DEFAULT (RAND())",
    "ALTER TABLE orders ADD x int CHECK (x > 0)",
    "ALTER TABLE orders ADD x int AS (qty * 2)",
    "ALTER TABLE orders ADD x int UNIQUE",
    "ALTER TABLE computed ADD x int",
    "ALTER TABLE orders ADD INDEX i (qty), ADD UNIQUE (n)",
    "CREATE UNIQUE INDEX i ON orders (qty)",
    "ALTER TABLE nokey ADD PRIMARY KEY (id)",
    "ALTER TABLE customers DROP PRIMARY KEY, ADD PRIMARY KEY (id)",
    "ALTER TABLE orders MODIFY note varchar(60)",
    "ALTER TABLE orders MODIFY nn varchar(80) NOT NULL DEFAULT 'y'",
    "ALTER TABLE orders MODIFY u varchar(300) CHARACTER SET latin1",
    "ALTER TABLE orders MODIFY u3 varchar(60) CHARACTER SET utf8mb4",
    "ALTER TABLE orders MODIFY n int(5) COMMENT 'a number' FIRST",
    "ALTER TABLE orders MODIFY n integer NOT NULL",
    "ALTER TABLE orders MODIFY qty int NULL",
    "ALTER TABLE orders MODIFY e enum('a','b','c')",
    "ALTER TABLE orders ALTER qty SET DEFAULT 3",
    "ALTER TABLE orders DROP INDEX by_note",
    "ALTER TABLE orders RENAME INDEX by_note TO k",
    "ALTER TABLE old_text CONVERT TO CHARACTER SET utf8mb4",
    "ALTER TABLE orders CHARACTER SET latin1, COMMENT 'x', AUTO_INCREMENT 100",
    "ALTER TABLE orders ENGINE=InnoDB",
    "ALTER TABLE orders ROW_FORMAT=COMPRESSED",
]


def findings(deploy: str, revert: str = "SELECT 1") -> tuple[Finding, ...]:
    return reviewed(deploy, revert).findings


def reviewed(deploy: str, revert: str = "SELECT 1") -> Review:
    first, second = review([SHOP, script("0002_x", deploy, "SELECT 1", revert)])
    assert first.findings == ()
    return second


@pytest.fixture
def session(lab: Lab) -> Iterator[Any]:
    """With all tables of the shop."""
    connection = lab.session()
    anew(connection)
    yield connection
    connection.close()


def anew(connection: Any, *names: str) -> None:
    """Tables of the shop as its migration makes them, each with a row; all of them where none is named."""
    with connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        for name, made in zip(NAMES, MADE, strict=True):
            if not names or name in names:
                cursor.execute(made.replace("CREATE TABLE", "CREATE OR REPLACE TABLE"))
        for row in ROWS:
            if not names or row.split()[2] in names:
                cursor.execute(row)
        cursor.execute("SET foreign_key_checks = 1")


def takes(connection: Any, statement: str, form: str) -> bool:
    """Whether the server does ``statement`` in this form; another error than its refusal is raised. Tables
    are afterwards as before.
    """
    text = (
        f"{statement} {form.replace(',', '')}" if statement.startswith("CREATE") else f"{statement}, {form}"
    )
    with connection.cursor() as cursor:
        try:
            cursor.execute(text)
        except pymysql.Error as error:
            if "ALGORITHM=" not in str(error) and "LOCK=" not in str(error):
                raise
            return False
    anew(connection, *(name for name in NAMES if f" {name} " in statement))
    return True


def test_the_installed_driver_reviews() -> None:
    assert isinstance(installed, Reviews)


@pytest.mark.parametrize("lock", [COPY, SHARED], ids=["copied", "built"])
def test_what_is_said_to_block_writes_does(session: Any, lock: str) -> None:
    for name, statement in (COPIED if lock == COPY else BUILT).items():
        said = [f for f in findings(statement) if f.lock]
        assert [(f.lock, f.blocks, f.line) for f in said] == [(lock, Blocks.WRITES, 1)], name
        assert f" {said[0].table} " in statement + " ", name
        assert not takes(session, statement, "LOCK=NONE"), name
        assert takes(session, statement, lock), name
        if lock == COPY:
            assert not takes(session, statement, "ALGORITHM=INPLACE"), name


def test_what_is_no_news_stops_nobody(session: Any) -> None:
    for statement in QUICK:
        assert findings(statement) == (), statement
        assert takes(session, statement, "LOCK=NONE"), statement


def test_the_safer_form_is_what_the_server_does_while_others_write(session: Any) -> None:
    offered = 0
    for name, statement in {**COPIED, **BUILT}.items():
        for said in findings(statement):
            scripts = [script(f"000{n}_x", s, "SELECT 1", "SELECT 1") for n, s in enumerate(said.safer, 2)]
            again = review([SHOP, *scripts])
            assert [f.lock for r in again for f in r.findings] == [], name
            for text in said.safer:
                # It asks for LOCK=NONE itself: the server would refuse it.
                with session.cursor() as cursor:
                    for one in text.split(";\n"):
                        if not one.startswith("-- "):
                            cursor.execute(one.rstrip(";"))
                        else:
                            cursor.execute(one.removeprefix("-- "))
                            assert cursor.fetchall() == ()
                assert "LOCK=NONE" in text, name
                offered += 1
            if said.safer:
                anew(session, said.table)
    assert offered > 12


@pytest.fixture
def held(lab: Lab) -> Iterator[None]:
    """The server lists the locks of tables."""
    lab.ask("INSTALL SONAME 'metadata_lock_info'")
    yield
    lab.ask("UNINSTALL SONAME 'metadata_lock_info'")


def test_a_copy_holds_a_lock_that_stops_writers(lab: Lab, session: Any, held: None) -> None:
    """Not by what the server says it would do: it is stopped where it needs the table for itself, a copy at
    its end and an index before it begins.
    """
    for statement, lock in (
        (COPIED["type"], "MDL_SHARED_NO_WRITE"),
        ("ALTER TABLE orders ADD INDEX (qty)", "MDL_SHARED_UPGRADABLE"),
    ):
        assert [f.blocks for f in findings(statement)] == [Blocks.WRITES] * (lock == "MDL_SHARED_NO_WRITE")
        session.begin()
        with session.cursor() as cursor:
            cursor.execute("SELECT note FROM orders")
        worker = lab.session()
        number = worker.thread_id()
        work = threading.Thread(target=worker.cursor().execute, args=(statement,))
        work.start()
        state = f"SELECT STATE FROM information_schema.PROCESSLIST WHERE ID = {number}"
        while "metadata lock" not in str(lab.ask(state)):
            assert work.is_alive()
        query = f"SELECT LOCK_MODE FROM information_schema.METADATA_LOCK_INFO WHERE THREAD_ID = {number}"
        assert lab.ask(f"{query} AND TABLE_NAME = 'orders'") == [(lock,)]
        session.rollback()
        work.join()
        worker.close()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE orders SET n = n + 1", "writes every row of orders"),
        ("DELETE FROM orders WHERE 1 = 1", "deletes every row of orders"),
        ("INSERT INTO nokey SELECT id, n FROM orders", "locks every row of orders that it reads"),
    ],
    ids=["update", "delete", "insert-select"],
)
def test_rows_are_held_until_it_is_over(lab: Lab, session: Any, statement: str, what: str) -> None:
    (said,) = findings(statement)
    assert what in str(said.what)
    assert (said.table, said.blocks) == ("orders", Blocks.WRITES)
    session.begin()
    with session.cursor() as cursor:
        cursor.execute(statement)
    other = lab.session()
    with other.cursor() as cursor, pytest.raises(pymysql.Error) as caught:
        cursor.execute("SELECT id FROM orders WHERE id = 1 FOR UPDATE NOWAIT")
    assert caught.value.args[0] == 1205
    other.close()
    session.rollback()
    assert findings(f"{statement} LIMIT 1") == ()


def test_small_steps_are_offered_by_the_key_and_small_writes_are_no_news() -> None:
    (said,) = findings("UPDATE orders SET n = 1 WHERE n IS NULL")
    assert said.safer == ("UPDATE orders SET n = 1 WHERE id BETWEEN 1 AND 10000 AND n IS NULL;",)
    for statement in (
        "UPDATE orders SET n = 1 WHERE id = 4", "UPDATE orders o JOIN nokey k ON k.id = o.id SET o.n = k.n",
        "INSERT INTO nokey SELECT id, n FROM orders WHERE id < 5", "INSERT INTO nokey VALUES (1, 2)",
        "CREATE TABLE t (id int); UPDATE t SET id = 2; ALTER TABLE t MODIFY id char",
        "CREATE TABLE t LIKE orders; ALTER TABLE t MODIFY qty bigint; UPDATE t SET n = 1",
    ):  # fmt: skip
        assert findings(statement) == (), statement


def test_a_column_that_nobody_knows_is_asked_about_and_the_server_decides() -> None:
    (said,) = findings("ALTER TABLE elsewhere MODIFY a varchar(40)")
    assert "may rewrite" in str(said.what)
    assert said.safer == ("ALTER TABLE elsewhere MODIFY a varchar(40), ALGORITHM=NOCOPY, LOCK=NONE;",)
    assert findings(said.safer[0]) == ()


def test_what_a_statement_asks_for_counts(session: Any) -> None:
    assert findings("ALTER TABLE orders MODIFY qty bigint, LOCK=NONE") == ()
    (said,) = findings("ALTER TABLE orders ADD x int, ALGORITHM=COPY")
    assert (said.lock, said.blocks) == (COPY, Blocks.WRITES)
    (said,) = findings("ALTER TABLE orders ADD INDEX (n), LOCK = EXCLUSIVE")
    assert said.blocks is Blocks.EVERYTHING
    (said,) = findings("ALTER TABLE nokey ENGINE=Aria, ALGORITHM=INSTANT")
    assert said.lock == COPY
    assert takes(session, "ALTER TABLE nokey ENGINE=Aria", "ALGORITHM=INSTANT"), "and copies all the same"


def test_what_the_old_release_reads_is_told_in_deploy_only() -> None:
    for statement, what in (
        ("ALTER TABLE orders DROP COLUMN n", "drops column n of orders"),
        ("ALTER TABLE orders RENAME COLUMN n TO m", "renames column n of orders"),
        ("ALTER TABLE orders CHANGE n m int", "renames column n of orders"),
        ("ALTER TABLE orders RENAME TO sold", "renames table orders"),
        ("RENAME TABLE orders TO sold", "renames table orders"),
        ("DROP TABLE nokey, parts", "drops table nokey"),
    ):
        said = findings(statement)[0]
        assert (what in str(said.what), said.lock) == (True, ""), statement
        assert findings("SELECT 1", statement) == (), statement


def test_the_way_back_is_read_with_what_the_deploy_made() -> None:
    (said,) = findings(
        "ALTER TABLE orders MODIFY note varchar(60)", "\nALTER TABLE orders MODIFY note varchar(40);"
    )
    assert (said.script, said.line, said.lock) == ("revert", 2, COPY)
    assert findings("ALTER TABLE orders ADD x int", "ALTER TABLE orders DROP x") == ()
    later = script("0003_y", "ALTER TABLE orders MODIFY note varchar(62)", "SELECT 1", "SELECT 1")
    wider = script(
        "0002_x", "ALTER TABLE orders MODIFY note varchar(60)", "SELECT 1", "ALTER TABLE orders DROP note"
    )
    assert review([SHOP, wider, later])[2].findings == ()


def test_partitions_are_written_anew() -> None:
    for action in (
        "PARTITION BY HASH (id) PARTITIONS 4", "REMOVE PARTITIONING",
        "REORGANIZE PARTITION p0, p1 INTO (PARTITION q VALUES LESS THAN (10))",
    ):  # fmt: skip
        assert [f.lock for f in findings(f"ALTER TABLE parts {action}")] == [COPY]
    for action in ("ADD PARTITION (PARTITION p2 VALUES LESS THAN (20))", "DROP PARTITION p0"):
        assert findings(f"ALTER TABLE parts {action}") == ()


def test_the_class_comes_with_the_line_that_decided_it() -> None:
    seen = reviewed("CREATE TABLE t (id int);\nUPDATE orders SET qty = 1 WHERE id = 1;")
    assert (seen.classification.reversibility.value, seen.line) == ("by snapshot", 2)
    broken = reviewed("SELECT 'never closed")
    assert (broken.classification.reversibility.value, broken.line, broken.findings) == (
        "forward only",
        0,
        (),
    )
