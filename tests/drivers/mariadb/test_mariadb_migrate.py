"""What a failed migration leaves, what is refused, and who is named when something is in the way."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator

import pymysql
import pytest

from lastgood.domain.errors import Cause, Conflict, InvalidInput, Rejected, Unreachable
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from lastgood.testing.mariadb_server import MariadbServer
from tests.drivers.mariadb.conftest import Lab, Tools

RICH = """
CREATE TABLE customers (
  id integer PRIMARY KEY AUTO_INCREMENT, name varchar(20) NOT NULL DEFAULT 'x' COMMENT 'y'
);
CREATE TABLE bought (
  id integer PRIMARY KEY, customer integer, price decimal(8, 2) UNSIGNED, kind enum('a', 'b'), at datetime(6),
  total decimal(10, 2) AS (price * 2) STORED,
  KEY by_price (price),
  CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE,
  CONSTRAINT dear CHECK (price > 0)
) COMMENT='what; was bought';
CREATE VIEW dear AS SELECT id, price FROM bought WHERE price > 10;
CREATE TRIGGER named BEFORE INSERT ON customers FOR EACH ROW BEGIN
  IF NEW.name = '' THEN SET NEW.name = CASE WHEN NEW.id > 1 THEN 'many' ELSE 'one' END; END IF;
END;
CREATE PROCEDURE count_all() SELECT COUNT(*) FROM bought;
CREATE SEQUENCE numbers;
INSERT INTO customers (name) VALUES ('Ada'), ('Grace');
INSERT INTO bought (id, customer, price, kind, at) VALUES (1, 1, 12.5, 'a', '2026-01-02 03:04:05.678901');
"""
FIRST = script("0001_rich", RICH, "", "SELECT 1;")
UNDONE = {
    "table": (
        "CREATE TABLE new (id integer PRIMARY KEY, o integer, FOREIGN KEY (o) REFERENCES customers (id))"
    ),
    "table-of-rows": (
        "CREATE TABLE new (id integer, price decimal(8, 2)); INSERT INTO new SELECT id, price FROM bought"
    ),
    "column": "ALTER TABLE bought ADD COLUMN gift text AFTER price, ADD UNIQUE KEY one_gift (gift(10))",
    "new-column-filled": "ALTER TABLE bought ADD COLUMN gift text; UPDATE bought SET gift = 'for you'",
    "rename": "RENAME TABLE bought TO sold, customers TO buyers",
    "rename-by-alter": "ALTER TABLE bought RENAME TO sold",
    "rename-column": "ALTER TABLE bought RENAME COLUMN at TO bought_at",
    "change-column": "ALTER TABLE customers CHANGE COLUMN name called varchar(40) NOT NULL FIRST",
    "wider": (
        "ALTER TABLE bought MODIFY price decimal(12, 4) UNSIGNED NOT NULL, MODIFY kind enum('a', 'b', 'c')"
    ),
    "constraints": "ALTER TABLE bought DROP FOREIGN KEY of_customer, DROP CONSTRAINT dear, DROP KEY by_price",
    "constraint": "ALTER TABLE bought ADD CONSTRAINT cheap CHECK (price < 1000), ADD KEY by_at (at, kind)",
    "order": "ALTER TABLE bought MODIFY COLUMN at datetime(6) FIRST",
    "comment": "ALTER TABLE bought COMMENT='sold', ROW_FORMAT=COMPRESSED",
    "view": "CREATE OR REPLACE VIEW dear AS SELECT id FROM bought; CREATE VIEW cheap AS SELECT 1 AS one",
    "view-dropped": "DROP VIEW dear",
    "trigger": (
        "DROP TRIGGER named; CREATE TRIGGER other BEFORE UPDATE ON customers FOR EACH ROW SET NEW.id = 1"
    ),
    "procedure": (
        "CREATE OR REPLACE PROCEDURE count_all() SELECT 2; CREATE FUNCTION one() RETURNS int NO SQL RETURN 1"
    ),
    "sequence": "CREATE SEQUENCE more; CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM bought",
    "primary-key": "ALTER TABLE bought DROP PRIMARY KEY, ADD PRIMARY KEY (id, kind)",
    "own-table-changed": (
        "CREATE TABLE a (id integer); ALTER TABLE a ADD b integer; RENAME TABLE a TO c; DROP TABLE c"
    ),
    "half-of-a-statement": "CREATE TABLE a (id integer); DROP TABLE a, nowhere",
    "rows-alone": "DELETE FROM bought; UPDATE customers SET name = 'nobody'",
    "settings": "SET foreign_key_checks = 0; ALTER TABLE bought ADD COLUMN gift text",
}
ROWS = "SELECT * FROM bought", "SELECT * FROM customers", "SELECT * FROM dear"


@pytest.fixture(scope="module")
def rich(server: MariadbServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One database for all that is taken back: each leaves it as it was."""
    lab = Lab(server, "rich_" + uuid.uuid4().hex[:8], Tools(tmp_path_factory.mktemp("rich")))
    lab.ask(f"CREATE DATABASE {lab.name}", "")
    lab.driver().deploy(FIRST, KEY)
    yield lab
    lab.ask(f"DROP DATABASE {lab.name}", "")


@pytest.mark.parametrize("statements", UNDONE.values(), ids=UNDONE.keys())
def test_a_failed_deploy_is_taken_back_exactly(rich: Lab, statements: str) -> None:
    lab, driver = rich, rich.driver()
    before, rows = driver.fingerprint(), [lab.ask(query) for query in ROWS]
    with pytest.raises(Rejected) as caught:
        driver.deploy(script("0002_bad", f"{statements};\nSELECT nothing FROM nowhere;", "", "SELECT 1"), KEY)
    assert caught.value.cause is Cause.SCRIPT_ERROR
    assert "stands" not in str(caught.value)
    assert driver.fingerprint() == before
    assert [lab.ask(query) for query in ROWS] == rows
    assert lab.ask("SELECT * FROM lastgood_progress") == []
    assert [name for name, _ in driver.applied()] == ["0001_rich"]


@pytest.mark.parametrize(
    ("statements", "stands"),
    [
        ("ALTER TABLE bought DROP COLUMN at", "the values of bought.at (ALTER TABLE bought DROP COLUMN at)"),
        ("DROP VIEW dear; DROP TABLE bought", "the rows of bought (DROP TABLE bought)"),
        (
            "ALTER TABLE bought MODIFY price integer",
            "values of bought.price that were rewritten in another type",
        ),
        (
            "UPDATE customers SET name = 'nobody'; CREATE TABLE new (id integer)",
            "the rows as they were (UPDATE customers SET name = 'nobody')",
        ),
        (
            "RENAME TABLE customers TO buyers; UPDATE buyers SET name = 'x'; CREATE TABLE new (id integer)",
            "the rows as they were (UPDATE buyers SET name = 'x')",
        ),
        ("DROP SEQUENCE numbers", "the numbers of numbers (DROP SEQUENCE numbers)"),
        ("GRANT SELECT ON dear TO nobody@localhost", "rights as they were (GRANT SELECT ON dear"),
    ],
)
def test_what_nothing_takes_back_is_said(lab: Lab, statements: str, stands: str) -> None:
    lab.ask("CREATE OR REPLACE USER nobody@localhost")
    driver = lab.driver()
    driver.deploy(FIRST, KEY)
    bad = script(
        "0002_bad", f"CREATE TABLE extra (id integer);{statements};SELECT 1 FROM nowhere;", "", "SELECT 1"
    )
    with pytest.raises(Rejected) as caught:
        driver.deploy(bad, KEY)
    assert stands in str(caught.value)
    assert "line 1" in str(caught.value)
    assert "snapshot" in str(caught.value.todo)
    assert lab.ask("SHOW TABLES LIKE 'extra'") == []
    with pytest.raises(Rejected) as again:
        driver.deploy(bad, KEY)
    assert str(again.value) == str(caught.value)
    driver.deploy(script("0003_next", "CREATE TABLE next (id integer);", "", "SELECT 1"), KEY)
    assert [name for name, _ in driver.applied()] == ["0001_rich", "0003_next"]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CALL count_all()", "can't be seen afterwards"),
        ("EXECUTE IMMEDIATE 'DROP TABLE orders'", "can't be seen afterwards"),
        ("LOAD DATA INFILE 'x' INTO TABLE orders", "can't be seen afterwards"),
        ("TRUNCATE TABLE orders", "truncates"),
        ("CREATE TABLE new AS SELECT * FROM orders", "creates a table from a query"),
        ("CREATE OR REPLACE TABLE new (id integer) (SELECT 1 AS id)", "creates a table from a query"),
        ("CREATE TABLE new (id integer) AS VALUES (1)", "creates a table from a query"),
        ("CREATE DATABASE other", "more than this database"),
        ("SET GLOBAL max_connections = 5", "more than this database"),
        ("FLUSH TABLES", "more than this database"),
        ("LOCK TABLES orders WRITE", "controls the transaction"),
        ("SET autocommit = 0", "controls the transaction"),
        ("USE mysql", "controls the transaction"),
        ("/*!40101 SET NAMES latin1 */", "the server executes"),
        ("DELIMITER //", "command of the client"),
        (r"\! ls", "command of the client"),
        ("CREATE TEMPORARY TABLE t (id integer)", "only its session has"),
        ("SET @last = 1; INSERT INTO orders VALUES (@last, 'x')", "only its session has"),
        ("INSERT INTO mysql.event SELECT * FROM mysql.event", "names the database mysql"),
        ("SELECT 'never closed", "never ends"),
    ],
)
def test_what_cannot_be_known_afterwards_is_refused_before_anything(
    lab: Lab, statement: str, told: str
) -> None:
    driver = lab.driver()
    before = driver.fingerprint()
    with pytest.raises(InvalidInput, match="line 2") as caught:
        driver.deploy(
            script("0001_evil", f"CREATE TABLE evil (id integer);\n{statement};", "", "SELECT 1"), KEY
        )
    assert told in str(caught.value)
    assert driver.fingerprint() == before


def test_a_verify_script_defines_nothing(lab: Lab) -> None:
    with pytest.raises(InvalidInput, match="only looks"):
        lab.driver().deploy(
            script("0001_a", ORDERS.deploy, "CREATE TABLE b (id integer)", ORDERS.revert), KEY
        )


def test_rows_of_a_table_without_transactions_are_not_changed(lab: Lab) -> None:
    lab.ask("CREATE TABLE counters (n integer) ENGINE=MyISAM")
    with pytest.raises(Rejected, match="MyISAM has no transactions"):
        lab.driver().deploy(script("0001_a", "UPDATE counters SET n = 1", "", "SELECT 1"), KEY)
    with pytest.raises(Rejected, match=r"counters \(MyISAM\)"):
        lab.driver().snapshot("one")


def test_a_locked_table_names_who_holds_it(lab: Lab) -> None:
    driver = lab.driver()
    driver.deploy(ORDERS, KEY)
    before = driver.fingerprint()
    holder = lab.session()
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("SELECT * FROM orders /* nightly report */")
        with pytest.raises(Rejected) as caught:
            driver.deploy(
                script("0002_b", "CREATE TABLE new (id integer);" + GIFTS.deploy, "", "SELECT 1"), KEY
            )
    assert caught.value.cause is Cause.TABLE_LOCK
    assert f"id {holder.thread_id()} (root from 127.0.0.1" in str(caught.value)
    holder.close()
    assert driver.fingerprint() == before
    driver.deploy(GIFTS, KEY)


def test_a_session_left_idle_in_a_transaction_is_ended_where_the_settings_say_so(lab: Lab) -> None:
    driver = lab.driver(end_idle_after=1.0, lock_deadline=20)
    driver.deploy(ORDERS, KEY)
    holder = lab.session()
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("SELECT * FROM orders")
        with pytest.raises(Rejected):
            lab.driver(end_idle_after=60.0).deploy(GIFTS, KEY)
        driver.deploy(GIFTS, KEY)
        with pytest.raises(pymysql.err.OperationalError):
            cursor.execute("SELECT 1")
    (ended,) = driver.sessions_ended()
    assert f"id {holder.thread_id()} (root from 127.0.0.1" in ended
    assert driver.sessions_ended() == ()


def test_a_locked_row_names_who_holds_it(lab: Lab) -> None:
    driver = lab.driver()
    driver.deploy(ORDERS, KEY)
    lab.ask("INSERT INTO orders VALUES (1, 'a')")
    holder = lab.session()
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("UPDATE orders SET note = 'mine'")
        with pytest.raises(Rejected) as caught:
            driver.deploy(script("0002_b", "UPDATE orders SET note = 'theirs'", "", "SELECT 1"), KEY)
    assert caught.value.cause is Cause.TABLE_LOCK
    assert f"id {holder.thread_id()} (root" in str(caught.value)
    holder.close()


def test_what_waits_to_be_taken_back_is_not_given_up(lab: Lab) -> None:
    driver = lab.driver()
    driver.deploy(ORDERS, KEY)
    before = driver.fingerprint()
    slow = f"{GIFTS.deploy} SELECT SLEEP(1.5); SELECT nothing FROM nowhere;"
    bad = script("0002_bad", slow, "", "SELECT 1")
    told: list[Rejected] = []

    def deploy() -> None:
        try:
            driver.deploy(bad, KEY)
        except Rejected as error:
            told.append(error)

    began = threading.Thread(target=deploy)
    began.start()
    while not lab.ask("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'"):
        pass
    holder = lab.session()
    holder.begin()
    with holder.cursor() as cursor:
        cursor.execute("SELECT * FROM orders")
        began.join()
    assert told[0].cause is Cause.TABLE_LOCK
    assert f"id {holder.thread_id()} " in str(told[0])
    assert "nowhere" in str(told[0])
    holder.close()
    with pytest.raises(Rejected) as caught:
        driver.deploy(bad, KEY)
    assert caught.value.cause is Cause.SCRIPT_ERROR
    assert driver.fingerprint() == before
    assert lab.ask("SELECT * FROM lastgood_progress") == []


def test_one_migration_at_a_time(lab: Lab) -> None:
    driver = lab.driver(lock_deadline=5)
    driver.deploy(ORDERS, KEY)
    slow = script("0002_slow", "INSERT INTO orders SELECT 1, SLEEP(1.5)", "", "SELECT 1")
    began = threading.Thread(target=driver.deploy, args=(slow, KEY))
    began.start()
    while not lab.ask("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO orders%'"):
        pass
    with pytest.raises(Rejected) as caught:
        lab.driver().deploy(GIFTS, KEY)
    assert caught.value.cause is Cause.TABLE_LOCK
    assert "INSERT INTO orders" in str(caught.value)
    began.join()
    driver.revert(slow, KEY)
    with pytest.raises(Conflict):
        driver.revert(script(ORDERS.name, "", "", "x"), KEY)


def test_a_statement_that_takes_too_long_is_stopped(lab: Lab) -> None:
    driver = lab.driver(statement_timeout=0.3)
    with pytest.raises(Rejected, match="max_statement_time") as caught:
        driver.deploy(
            script("0001_slow", "CREATE TABLE a (id int);INSERT INTO a SELECT SLEEP(5)", "", "x"), KEY
        )
    assert "statement_timeout" in str(caught.value.todo)
    assert driver.applied() == ()


def test_a_server_that_is_not_there(lab: Lab) -> None:
    with pytest.raises(Unreachable) as caught:
        lab.driver(url="mysql://root@127.0.0.1:9/shop").applied()
    assert caught.value.cause is Cause.DEPENDENCY_DOWN
    with pytest.raises(Rejected) as refused:
        lab.driver(url=lab.server.url("nowhere")).applied()
    assert refused.value.cause is Cause.WRONG_PATH
    with pytest.raises(Rejected) as closed:
        lab.driver(url=lab.server.url(lab.name, "stranger")).applied()
    assert closed.value.cause is Cause.PERMISSION
