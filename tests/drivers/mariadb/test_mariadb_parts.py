"""The parts without a server: settings, scripts in pieces, classes of change, types."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import InvalidInput
from lastgood.domain.plan import Reversibility
from lastgood.drivers.mariadb import driver
from lastgood.drivers.mariadb.classify import classify
from lastgood.drivers.mariadb.scan import Kind, runnable, split, tokens
from lastgood.drivers.mariadb.settings import KEYS, MariadbSettings
from lastgood.drivers.mariadb.signal import prepare
from lastgood.drivers.mariadb.types import fits
from lastgood.testing.conformance_migrates import script

E, S, F = Reversibility.EXACT, Reversibility.BY_SNAPSHOT, Reversibility.FORWARD_ONLY


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("CREATE TABLE a (id integer PRIMARY KEY AUTO_INCREMENT, KEY k (id)) ENGINE=InnoDB", E),
        ("CREATE TABLE a (id int); INSERT INTO a VALUES (1)", E),
        ("CREATE OR REPLACE TABLE a (id int)", S),
        ("ALTER TABLE a ADD COLUMN b int AFTER c, ADD INDEX i (b)", E),
        ("ALTER TABLE a ADD CHECK (b > 1)", E),
        ("ALTER TABLE a ADD CHECK (b > 1), DROP COLUMN c", F),
        ("ALTER TABLE a RENAME COLUMN b TO c", E),
        ("ALTER TABLE a RENAME INDEX b TO c", E),
        ("RENAME TABLE a TO b", E),
        ("CREATE FULLTEXT INDEX i ON a (b)", E),
        ("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN SET NEW.b = 1; END", E),
        ("CREATE DEFINER=`x`@`y` VIEW v AS SELECT IFNULL(a, 1) FROM b", E),
        ("ALTER TABLE a MODIFY b bigint", S),
        ("ALTER TABLE a CHANGE b c bigint", S),
        ("ALTER TABLE a CONVERT TO CHARACTER SET utf8mb4", S),
        ("ALTER TABLE a DROP COLUMN b", S),
        ("ALTER TABLE a DROP FOREIGN KEY b", S),
        ("ALTER TABLE a DROP PRIMARY KEY", S),
        ("DROP TABLE a", S),
        ("UPDATE a SET b = 1", S),
        ("REPLACE INTO a VALUES (1)", S),
        ("INSERT INTO a VALUES (1) ON DUPLICATE KEY UPDATE b = 2", S),
        ("DELETE a FROM a JOIN b ON a.id = b.id", S),
        ("SELECT unknown_function(1)", F),
        ("CALL anything()", F),
        ("TRUNCATE TABLE a", F),
        ("ALTER TABLE a PARTITION BY HASH (id)", F),
        ("not SQL at all", F),
    ],
)
def test_the_class_of_a_statement(statement: str, wanted: Reversibility) -> None:
    found = classify(script("0001_x", statement, "", "SELECT 1"))
    assert found.reversibility is wanted, found
    assert found.reason or found.statement


def test_without_a_way_back_it_is_forward_only() -> None:
    found = classify(script("0001_x", "CREATE TABLE a (id int)", "", "-- nothing"))
    assert (found.reversibility, found.reason) == (F, "revert.sql is empty")


@pytest.mark.parametrize(
    ("before", "between", "wanted"),
    [
        ("int(11)", "bigint(20)", True),
        ("bigint(20)", "int(11)", False),
        ("int(10) unsigned", "int(11)", False),
        ("varchar(10)", "varchar(20) NOT NULL", True),
        ("varchar(20)", "varchar(10)", False),
        ("varchar(20)", "text", True),
        ("text", "varchar(20)", False),
        ("decimal(8,2)", "decimal(10,4)", True),
        ("decimal(8,2)", "decimal(8,4)", False),
        ("datetime(6)", "datetime", False),
        ("enum('a','b')", "enum('a','b','c')", True),
        ("enum('a','b')", "enum('a','c')", False),
        ("varchar(10)", "varchar(10) CHARACTER SET latin1", False),
        ("int(11) GENERATED ALWAYS AS (1) STORED", "int(11) GENERATED ALWAYS AS (2) STORED", False),
        ("int(11) DEFAULT 1", "int(11) DEFAULT 2", True),
        ("json", "point", False),
    ],
)
def test_types_that_hold_every_value(before: str, between: str, wanted: bool) -> None:
    assert fits(f"`a` {before}", f"`b` {between}") is wanted


def test_statements_are_told_apart() -> None:
    text = """
    # one; comment
    CREATE TABLE a (x int); -- another;
    INSERT INTO a VALUES ('it''s; \\'so', "d;q");
    CREATE DEFINER=`r`@`l` PROCEDURE p() BEGIN
      IF 1 THEN CASE 1 WHEN 1 THEN SET @x = 1; END CASE; END IF;
      WHILE 0 DO SELECT CASE 1 WHEN 1 THEN 2 END; END WHILE;
    END;
    SET foreign_key_checks = 0; SELECT `a;b`, 1--2 FROM other.a
    """
    found = split(text, "x.sql")
    assert [s.line for s in found] == [3, 4, 5, 9, 9]
    kinds = [Kind.DEFINITION, Kind.ROWS, Kind.DEFINITION, Kind.SESSION, Kind.ROWS]
    assert [s.kind for s in found] == kinds
    assert found[-1].before_dots == {"other"}
    assert not found[2].before_dots


def test_what_drops_several_is_one_of_each() -> None:
    text = """CREATE TABLE x (a int, b int);
    DROP TABLE IF EXISTS a, -- the old one
      `b,c` , d.e RESTRICT;
    DROP VIEW v,w; DROP SEQUENCE s; DROP INDEX i ON a
    """
    found = runnable(text, "x.sql")
    assert [(s.text, s.line) for s in found[1:]] == [
        ("DROP TABLE IF EXISTS a RESTRICT", 2), ("DROP TABLE IF EXISTS `b,c` RESTRICT", 3),
        ("DROP TABLE IF EXISTS d.e RESTRICT", 3), ("DROP VIEW v", 4), ("DROP VIEW w", 4),
        ("DROP SEQUENCE s", 4), ("DROP INDEX i ON a", 4),
    ]  # fmt: skip
    assert found[3].before_dots == {"d"}
    assert [s.text for s in runnable("DROP TABLE a,", "x.sql")] == ["DROP TABLE a,"]


def test_a_table_with_partitions_is_not_made_from_a_query() -> None:
    table = "CREATE TABLE a (id int) PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (5))"
    listed = "CREATE TABLE b (id int) PARTITION BY LIST (id) (PARTITION p VALUES IN (5))"
    assert len(runnable(f"{table};{listed}", "x.sql")) == 2
    with pytest.raises(InvalidInput) as caught:
        runnable("CREATE TABLE a AS SELECT 1", "x.sql")
    assert "INSERT … SELECT" in str(caught.value.todo)


@given(st.text(alphabet="aB1 \n;'\"`\\-#/*(){}@:.,!", max_size=40))
def test_nothing_of_a_script_is_dropped(text: str) -> None:
    try:
        found = tokens(text, "x.sql")
    except InvalidInput:
        return
    assert "".join(t.text for t in found) == text
    for statement in split(text, "x.sql"):
        assert statement.text in text
        assert statement.text.strip() == statement.text


URL = "mysql://shop@db.example.com:3307/shop"


def test_settings_are_read() -> None:
    read = MariadbSettings.read({"url": URL, "resource": "shop@prod/us"})
    assert (read.user, read.host, read.port, read.database) == ("shop", "db.example.com", 3307, "shop")
    assert read.address == "db.example.com:3307"
    local = MariadbSettings.read({"url": "mariadb://shop@/shop?unix_socket=/run/x.sock"})
    assert (local.address, local.resource) == ("/run/x.sock", "shop")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "missing"),
        ({"url": "postgresql://a@b/c"}, "no MariaDB URL"),
        ({"url": "mysql://a:secret@b/c"}, "holds a password"),
        ({"url": "mysql://a@b/"}, "names no database"),
        ({"url": "mysql://b/c"}, "names no user"),
        ({"url": "mysql://a@b:port/c"}, "can't be read"),
        ({"url": "mysql://a@b/c?charset=latin1"}, "unknown option 'charset'"),
        ({"url": URL, "password": "secret"}, "is no secret"),
        ({"url": URL, "lock_timeout": 0}, "no number of seconds"),
        ({"url": URL, "lock_tiemout": 1}, "unknown setting 'lock_tiemout'"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        MariadbSettings.read(settings)
    assert "secret@" not in str(caught.value)


def test_the_readme_names_every_setting() -> None:
    text = Path(driver.__file__).with_name("README.md").read_text()
    table = text.split("| setting | meaning |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == KEYS
    for default in ("lock_timeout", "statement_timeout", "lock_deadline"):
        value = MariadbSettings.__dataclass_fields__[default].default
        assert re.search(rf"`{default}` \|.*default {value:.0f} \|", table)


@pytest.mark.parametrize(
    ("query", "told"),
    [("", "no query"), ("DELETE FROM a", "not one SELECT"), ("SELECT :until", "unknown parameter :until")],
)
def test_a_signal_asks_one_question(query: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        prepare(Signal("orders", SignalKind.RATIO, "mariadb", {"query": query}))
