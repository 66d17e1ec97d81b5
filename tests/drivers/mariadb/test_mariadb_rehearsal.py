"""Copies for rehearsals on a real server, what journeys may do on them, and what counts as an addition."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.drivers.mariadb import binaries, scratch
from lastgood.drivers.mariadb.additions import additive
from lastgood.drivers.mariadb.binaries import Binaries
from lastgood.drivers.mariadb.connection import Server, rows
from lastgood.drivers.mariadb.filling import SAMPLE_ROWS, copy_sample, copy_whole, sample_size
from lastgood.drivers.mariadb.fingerprint import EVENT, read_listing
from lastgood.drivers.mariadb.journeys import Writer
from lastgood.drivers.mariadb.scratch import PREFIX, beside
from lastgood.drivers.mariadb.settings import MariadbSettings
from lastgood.ports.rehearsing import Journey, Journeys
from lastgood.testing.conformance_migrates import GIFTS, KEY, ORDERS, script
from tests.drivers.mariadb.conftest import Lab

LARGE = """
CREATE TABLE customers (
  id int AUTO_INCREMENT PRIMARY KEY, name varchar(50) NOT NULL, boss int, day date DEFAULT '0000-00-00',
  shout varchar(50) AS (UPPER(name)) STORED, FOREIGN KEY (boss) REFERENCES customers (id)
);
CREATE TABLE bought (
  id int PRIMARY KEY, `by` int NOT NULL, again int,
  FOREIGN KEY (`by`) REFERENCES customers (id) ON DELETE CASCADE, FOREIGN KEY (again) REFERENCES bought (id)
);
SET FOREIGN_KEY_CHECKS = 0;
INSERT INTO customers (name, boss) SELECT CONCAT('c', seq), IF(seq > 1, 1, NULL) FROM seq_1_to_1500;
INSERT INTO bought SELECT seq, 1501 - seq, IF(seq > 501, seq - 1, NULL) FROM seq_1_to_1500;
CREATE TRIGGER noted AFTER INSERT ON customers FOR EACH ROW DELETE FROM bought WHERE id = -1;
"""
RICH = """
CREATE TABLE parts (id int, y int, PRIMARY KEY (id, y)) PARTITION BY RANGE (y)
  (PARTITION old VALUES LESS THAN (5), PARTITION rest VALUES LESS THAN MAXVALUE);
CREATE TABLE history (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING;
CREATE TABLE wide (id int PRIMARY KEY AUTO_INCREMENT, hidden int INVISIBLE, e enum('a', 'it''s'), g point,
  b bit(3), n decimal(20,5), v int AS (id + 1) VIRTUAL, t text, FULLTEXT (t), CHECK (n > 0));
CREATE SEQUENCE numbers START 7;
CREATE VIEW seen AS SELECT id, t FROM wide;
CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC RETURN 2 * n;
CREATE PROCEDURE fill() BEGIN INSERT INTO wide (t) VALUES ('p'); END;
CREATE TRIGGER stamp BEFORE INSERT ON wide FOR EACH ROW SET NEW.hidden = twice(3);
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO DELETE FROM wide WHERE id < 0;
INSERT INTO parts VALUES (1, 1), (2, 9);
INSERT INTO history VALUES (1, 1);
UPDATE history SET v = 2;
INSERT INTO wide (id, e, g, b, n, t) VALUES (5, 'it''s', POINT(1, 2), b'101', 1.5, 'some text');
"""
MORE = script(
    "0002_more", "ALTER TABLE customers ADD more text;", "SELECT more FROM customers WHERE false;",
    "ALTER TABLE customers DROP more;",
)  # fmt: skip
WRITES = Journey("the release", "INSERT INTO customers (name, boss) VALUES ('new', 1);")


def server_of(lab: Lab, **settings: object) -> Server:
    read = MariadbSettings.read({"url": lab.server.url(lab.name), **settings})
    return Server(read, lab.tools.vault, lab.name)


def scratches(lab: Lab) -> list[str]:
    return [name for name in lab.databases() if name.startswith(PREFIX)]


def tell(lab: Lab, sql: str) -> None:
    lab.server.ask(
        f"SET sql_mode = '';\nDELIMITER //\n{sql.replace(';' + chr(10), '//' + chr(10))}", lab.name
    )


def test_a_sample_is_closed_and_writes_go_on_behind_its_numbers(lab: Lab) -> None:
    driver = lab.driver(rehearse_whole=0)
    lab.driver().deploy(ORDERS, KEY)
    assert (driver.sample_rows(), lab.driver().sample_rows()) == (SAMPLE_ROWS, 0)
    tell(lab, LARGE)
    server = server_of(lab)
    tools = binaries.find(server)
    with (
        beside(server, lambda made: copy_sample(server, made, tools), sample_size) as copy,
        copy.session() as connection,
    ):
        assert rows(connection, "SELECT COUNT(*) FROM customers") == [(SAMPLE_ROWS,)]
        # Of the first 1000, the first 500 are of customers beyond the sample; the rest hang on each other.
        assert rows(connection, "SELECT COUNT(*) FROM bought") == [(500,)]
        assert rows(connection, "INSERT INTO customers (name) VALUES ('x') RETURNING id > 1500") == [(1,)]
        assert rows(connection, "SELECT name FROM lastgood_revisions") == [(ORDERS.name,)]
        assert rows(connection, "SHOW TRIGGERS")[0][0] == "noted"
    before = driver.fingerprint()
    seen = driver.rehearse_writes(None, [MORE], [ORDERS], Journeys(WRITES, (WRITES,)))
    assert (seen.difference, str(seen.complaint), str(seen.untried)) == ("", "", "")
    assert seen.fingerprint_before == seen.fingerprint_after == before
    assert lab.ask("SELECT COUNT(*) FROM customers") == [(1500,)]
    assert scratches(lab) == []


@pytest.mark.parametrize("fill", [copy_whole, copy_sample], ids=["whole", "sample"])
def test_a_rich_schema_comes_along(lab: Lab, fill: Callable[[Server, Server, Binaries], None]) -> None:
    tell(lab, RICH)
    server = server_of(lab)
    tools = binaries.find(server)
    with (
        beside(server, lambda made: fill(server, made, tools)) as copy,
        copy.reading() as there,
        server.reading() as here,
    ):
        live = {key: part for key, part in read_listing(here).items() if key[0] != EVENT}
        assert read_listing(there) == live
        for table in ("parts", "history", "wide"):
            query = f"SELECT * FROM {table} ORDER BY 1"
            assert rows(there, query) == rows(here, query)


def test_a_sample_has_room_or_is_not_begun(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.ask("CREATE TABLE wide (id int PRIMARY KEY, body longtext)")
    lab.ask("INSERT INTO wide SELECT seq, REPEAT('x', 20000) FROM seq_1_to_3000")
    lab.ask("ANALYZE TABLE wide")
    with server_of(lab).session() as connection:
        assert 16 << 20 < sample_size(connection) < 40 << 20
    free = scratch.shutil.disk_usage("/")._replace(free=10 << 20)
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: free)
    with pytest.raises(Rejected, match=r"needs about \d\d MiB, and 10 MiB are free"):
        lab.driver(rehearse_whole=0).rehearse_writes(None, [GIFTS], [], Journeys())
    assert scratches(lab) == []


MAKER = """
import sys
from lastgood.drivers.mariadb.connection import Server
from lastgood.drivers.mariadb.scratch import beside
from lastgood.drivers.mariadb.settings import MariadbSettings
from lastgood.testing.fake_files import FakeVault
settings = MariadbSettings.read({"url": sys.argv[1]})
with beside(Server(settings, FakeVault(), settings.database), lambda made: None) as copy:
    print(copy.database, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_one_left_goes_at_once_and_what_another_uses_stays(lab: Lab) -> None:
    lab.ask("CREATE TABLE orders (id int PRIMARY KEY)")
    arguments = [sys.executable, "-c", MAKER, lab.server.url(lab.name)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        left = maker.stdout.readline().strip()
        with beside(server_of(lab), lambda made: None) as ours:
            assert sorted(scratches(lab)) == sorted([left, ours.database])
        assert scratches(lab) == [left]
        maker.send_signal(signal.SIGKILL)
    while lab.ask(f"SELECT IS_USED_LOCK('{left}') IS NOT NULL") == [(1,)]:
        pass  # The server sees the end of its session a moment later.
    with beside(server_of(lab), lambda made: None) as ours:
        assert scratches(lab) == [ours.database]


def test_what_a_tool_complains_of_is_told_and_nothing_stays(lab: Lab) -> None:
    lab.ask("CREATE TABLE orders (id int PRIMARY KEY)")
    lab.ask("CREATE VIEW lost AS SELECT id FROM orders")
    lab.ask("DROP TABLE orders")
    with pytest.raises(Rejected, match=r"dump failed on .*lost"):
        lab.driver().rehearse_writes(None, [GIFTS], [], Journeys())
    assert scratches(lab) == []


def test_a_locked_table_is_not_waited_for_and_nothing_stays(lab: Lab) -> None:
    lab.ask("CREATE TABLE orders (id int PRIMARY KEY)")
    holder = lab.session()
    with holder.cursor() as cursor:
        cursor.execute("LOCK TABLES orders WRITE")
    with pytest.raises(Rejected) as caught:
        lab.driver().rehearse_writes(None, [GIFTS], [], Journeys())
    assert caught.value.cause is Cause.TABLE_LOCK
    holder.close()
    assert scratches(lab) == []


@pytest.fixture
def shop(lab: Lab) -> Lab:
    lab.driver().deploy(ORDERS, KEY)
    lab.ask("INSERT INTO orders VALUES (1, 'one')")
    return lab


UNFIT = {
    "INSERT INTO mysql.user (Host) VALUES ('x')": "names the database",
    "INSERT INTO `mysql` . user (Host) VALUES ('x')": "names the database",
    "DELETE FROM MySQL.user": "names the database",
    "CALL anything()": "effect can't be seen",
    "SELECT id INTO @id FROM orders": "effect can't be seen",
    "START TRANSACTION": "controls the transaction",
    "SET GLOBAL max_connections = 1": "more than this database",
    "TRUNCATE orders": "truncates",
    "ANALYZE TABLE orders": "can't run in a transaction",
}


def test_what_a_journey_must_not_have_is_refused_before_it_runs(shop: Lab) -> None:
    writer = Writer(server_of(shop), shop.databases(), folds=True)
    for text, why in UNFIT.items():
        journey = Journey("a release", f"INSERT INTO orders VALUES (8, 'x');\n{text};")
        with pytest.raises(InvalidInput, match=why):
            writer.run(journey, times=1, keep=True)
    # A database that is called like a table of its own.
    twin = Writer(server_of(shop), ["orders"])
    alike = Journey("a release", "INSERT INTO orders.orders VALUES (8, 'x')")
    with pytest.raises(InvalidInput, match="names the database orders"):
        twin.run(alike, times=1, keep=True)
    fine = Journey("a release", "UPDATE orders SET orders.note = 'x' WHERE orders.id = 1")
    assert twin.run(fine, times=2, keep=False) is None
    assert shop.ask("SELECT * FROM orders") == [(1, "one")]


def test_the_live_database_is_not_written_to_from_a_copy(shop: Lab) -> None:
    journey = Journey("a release", f"INSERT INTO {shop.name}.orders (id, note) VALUES (9, 'x');")
    with pytest.raises(InvalidInput, match="names the database"):
        shop.driver().rehearse_writes(None, [GIFTS], [ORDERS], Journeys(journey))
    old = shop.driver().rehearse_writes(None, [GIFTS], [ORDERS], Journeys(None, (journey,)))
    assert "names the database" in str(old.untried)
    assert shop.ask("SELECT id FROM orders") == [(1,)]
    assert scratches(shop) == []


def test_a_journey_has_variables_and_its_table_may_be_called_as_a_database(shop: Lab) -> None:
    shop.ask("CREATE TABLE mysql (id int AUTO_INCREMENT PRIMARY KEY)")
    shop.ask("CREATE TABLE paper (line int) ENGINE=MyISAM")
    journey = Journey(
        "a release",
        "INSERT INTO mysql VALUES (); SET @id = LAST_INSERT_ID() + 100;\nINSERT INTO paper VALUES (1);\n"
        "INSERT INTO orders (id, note) VALUES (@id, 'x');\n"
        "UPDATE orders JOIN mysql ON mysql.id + 100 = orders.id SET note = 'y';",
    )
    seen = shop.driver().rehearse_writes(None, [GIFTS], [ORDERS], Journeys(journey, (journey,)))
    assert (str(seen.untried), str(seen.complaint), seen.difference) == ("", "", "")


def test_a_copy_whose_programs_write_elsewhere_is_not_written_to(shop: Lab) -> None:
    other = f"{shop.name}_audit"
    shop.ask(f"CREATE DATABASE {other}")
    shop.ask(f"CREATE TABLE {other}.log (id int)")
    shop.ask(f"CREATE TRIGGER t AFTER INSERT ON orders FOR EACH ROW INSERT INTO {other}.log VALUES (1)")
    journey = Journey("a release", "INSERT INTO orders (id, note) SELECT MAX(id) + 1, 'x' FROM orders;")
    with pytest.raises(Rejected, match=f"trigger t names the database {other}"):
        shop.driver().rehearse_writes(None, [GIFTS], [ORDERS], Journeys(journey))
    assert shop.driver().rehearse_writes(None, [GIFTS], [ORDERS], Journeys()).difference == ""
    assert shop.ask(f"SELECT COUNT(*) FROM {other}.log") == [(0,)]


ADDED = {
    "a column": ("ALTER TABLE orders ADD a int", True),
    "a required one": ("ALTER TABLE orders ADD a int NOT NULL", False),
    "a filled one": ("ALTER TABLE orders ADD a int NOT NULL DEFAULT 1 COMMENT 'NOT NULL CHECK'", True),
    "one in the middle": ("ALTER TABLE orders ADD a int AFTER id", False),
    "a computed one": ("ALTER TABLE orders ADD a int AS (100 / id) STORED", False),
    "a checked one": ("ALTER TABLE orders ADD a int DEFAULT 1 CHECK (a > 5)", False),
    "a rule": ("ALTER TABLE orders ADD CHECK (id > 0)", False),
    "an index": ("CREATE INDEX i ON orders (note(9) DESC, id)", True),
    "full text": ("CREATE FULLTEXT INDEX i ON orders (note)", True),
    "a table that refers": (
        "CREATE TABLE details (id int PRIMARY KEY, o int NOT NULL, FOREIGN KEY (o) REFERENCES orders (id))",
        True,
    ),
    "a view": ("CREATE VIEW seen AS SELECT id FROM orders", True),
    "a trigger": ("CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = 'x'", False),
    "an event": ("CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM orders", False),
    "a comment": ("ALTER TABLE orders COMMENT 'sold'", False),
    "another type": ("ALTER TABLE orders MODIFY note text", False),
}  # fmt: skip


def test_what_counts_as_an_addition(lab: Lab) -> None:
    for name, (statement, wanted) in ADDED.items():
        for text in ("VIEW IF EXISTS seen", "TABLE IF EXISTS details, orders"):
            lab.ask(f"DROP {text}")
        lab.ask("CREATE TABLE orders (id int PRIMARY KEY, note varchar(20) NOT NULL)")
        with server_of(lab).session() as connection:
            before = read_listing(connection)
            rows(connection, statement)
            assert additive(before, read_listing(connection)) == wanted, name


def test_the_limit_is_a_whole_number_of_mebibytes(lab: Lab) -> None:
    with pytest.raises(InvalidInput, match="rehearse_whole"):
        lab.driver(rehearse_whole="10 GiB")
