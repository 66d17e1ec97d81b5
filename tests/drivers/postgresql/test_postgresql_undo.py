"""``-- lastgood: undo rows``: what a data migration did goes back where nobody changed it since."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lastgood.domain.errors import Cause, Rejected
from lastgood.drivers.postgresql import batches
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.undoing import Undone
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.postgresql.conftest import Lab
from tests.drivers.postgresql.waiting import until

UNDO = "-- lastgood: undo rows\n"
SHOP = """
CREATE TABLE items (
    id int PRIMARY KEY, name text, price numeric(8,2), twice numeric GENERATED ALWAYS AS (price * 2) STORED
);
CREATE TABLE lines (
    id int PRIMARY KEY, item int REFERENCES items ON DELETE CASCADE ON UPDATE CASCADE, note char(5)
);
INSERT INTO items SELECT n, 'item ' || n, n FROM generate_series(1, 5) n;
INSERT INTO lines VALUES (1, 1, 'x');
"""
ITEMS = "SELECT id, name, price::text FROM items ORDER BY id"


def moving(deploy: str, revert: str = UNDO) -> MigrationScript:
    return script("0001_move", deploy, "SELECT 1", revert)


@pytest.fixture
def shop(emptied_lab: Lab) -> Lab:
    emptied_lab.ask(SHOP)
    return emptied_lab


def conflicts(lab: Lab) -> list[tuple[object, ...]]:
    return lab.ask(
        "SELECT relation, c.key::text, reason FROM lastgood.undo_conflicts c "
        "JOIN lastgood.undo u ON u.id = c.undo ORDER BY 1, 2"
    )


def test_all_of_it_goes_back_and_leaves_no_trace(shop: Lab) -> None:
    driver = shop.driver()
    before, rows = driver.fingerprint(), shop.ask(ITEMS)
    move = moving(
        "UPDATE items SET price = 0 WHERE id < 4; UPDATE items SET price = price + 1 WHERE id < 3;"
        "DELETE FROM items WHERE id = 5; INSERT INTO items VALUES (6, 'six', NULL), (7, 'seven', 7);"
        "UPDATE items SET name = 'a, \"b\" \\ c' WHERE id = 7; DELETE FROM items WHERE id = 7;"
        "UPDATE items SET id = 40 WHERE id = 4; UPDATE items SET id = 11 WHERE id = 1"
    )
    driver.deploy(move, KEY)
    driver.deploy(move, KEY)
    assert driver.fingerprint() == before
    assert shop.ask("SELECT id FROM items ORDER BY 1") == [(2,), (3,), (6,), (11,), (40,)]
    assert shop.ask("SELECT item FROM lines") == [(11,)]
    driver.revert(move, "back")
    driver.revert(move, "back")
    assert shop.ask(ITEMS) == rows
    assert shop.ask("SELECT item, note FROM lines") == [(1, "x    ")]
    # The row that refers to it was changed along with it by the cascade, and went back with it.
    assert driver.undone(move, "back") == Undone({"items": 6, "lines": 1}, {})
    assert driver.fingerprint() == before
    driver.deploy(move, "again")
    driver.revert(move, "back again")
    assert shop.ask(ITEMS) == rows


def test_what_somebody_changed_since_stays_and_is_listed(shop: Lab) -> None:
    driver = shop.driver()
    move = moving(
        "UPDATE items SET price = 0; DELETE FROM items WHERE id = 5; "
        "INSERT INTO items VALUES (6, 'six', 6), (7, 'seven', 7), (8, 'eight', 8)"
    )
    driver.deploy(move, KEY)
    shop.ask(
        "UPDATE items SET price = 9 WHERE id = 1; UPDATE items SET name = 'new' WHERE id = 2;"
        "DELETE FROM items WHERE id = 3; INSERT INTO items VALUES (5, 'other', 1);"
        "UPDATE items SET name = 'mine' WHERE id = 7; INSERT INTO lines VALUES (2, 8, 'y')"
    )
    driver.revert(move, "back")
    assert shop.ask(ITEMS) == [
        (1, "item 1", "9.00"), (2, "new", "2.00"), (4, "item 4", "4.00"), (5, "other", "1.00"),
        (7, "mine", "7.00"), (8, "eight", "8.00"),
    ]  # fmt: skip
    assert shop.ask("SELECT id, item FROM lines ORDER BY 1") == [(1, 1), (2, 8)]
    assert driver.undone(move, "back") == Undone({"items": 3}, {"items": 5})
    assert conflicts(shop) == [
        ("items", '["1"]', "it was changed since"),
        ("items", '["3"]', "it was deleted since"),
        ("items", '["5"]', "a row with its key is there"),
        ("items", '["7"]', "it was changed since"),
        ("items", '["8"]', "other rows refer to it"),
    ]
    assert shop.ask(
        "SELECT was->>'price', deployed->>'price', found->>'price' FROM lastgood.undo_conflicts "
        "WHERE key = '[\"1\"]'"
    ) == [("1.00", "0.00", "9.00")]


def test_a_value_that_is_taken_by_now_is_a_conflict_of_its_own(shop: Lab) -> None:
    shop.ask("CREATE UNIQUE INDEX ON items (name)")
    driver = shop.driver()
    move = moving("UPDATE items SET name = 'was ' || name")
    driver.deploy(move, KEY)
    shop.ask("INSERT INTO items VALUES (9, 'item 2', 0)")
    driver.revert(move, "back")
    assert [r[1] for r in shop.ask(ITEMS)] == ["item 1", "was item 2", "item 3", "item 4", "item 5", "item 2"]
    ((_, key, reason),) = conflicts(shop)
    assert key == '["2"]'
    assert "duplicate key" in str(reason)


def refusing(state: str) -> str:
    return (
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE 'not this one' USING ERRCODE = '{state}'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON items FOR EACH ROW WHEN (OLD.id = 2) "
        "EXECUTE FUNCTION refuse()"
    )


def test_one_row_that_is_refused_costs_no_more_than_its_batch(shop: Lab) -> None:
    """As seen by the transactions that wrote the rows: one for a batch, one for each row of the bad one."""
    shop.ask("INSERT INTO items SELECT n, 'item ' || n, 1 FROM generate_series(6, 2500) n; ANALYZE items")
    driver = shop.driver()
    move = moving("UPDATE items SET name = 'was ' || name")
    driver.deploy(move, KEY)
    shop.ask(refusing("23514"))
    driver.revert(move, "back")
    assert driver.undone(move, "back") == Undone({"items": 2499}, {"items": 1})
    ((writers,),) = shop.ask("SELECT count(DISTINCT xmin::text) FROM items")
    assert isinstance(writers, int)
    assert writers <= batches.ROWS + 3


@pytest.mark.parametrize("state", ["XY123", "P0004", "0A000"], ids=["own", "assert", "unsupported"])
def test_a_trigger_may_refuse_a_row_with_any_state(shop: Lab, state: str) -> None:
    driver = shop.driver()
    move = moving("UPDATE items SET price = 0")
    driver.deploy(move, KEY)
    shop.ask(refusing(state))
    with shop.session(autocommit=False) as other:
        other.execute("SELECT FROM items WHERE id = 3 FOR UPDATE")
        with pytest.raises(Rejected) as refused:
            driver.revert(move, "back")
        assert refused.value.cause is Cause.TABLE_LOCK
    driver.revert(move, "back")
    assert driver.undone(move, "back") == Undone({"items": 4}, {"items": 1})
    assert conflicts(shop) == [("items", '["2"]', "not this one")]


def test_undoing_takes_as_long_as_it_takes(shop: Lab) -> None:
    move = moving("UPDATE items SET price = 0")
    shop.driver().deploy(move, KEY)
    shop.ask(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(1.1); RETURN NEW; END';"
        "CREATE TRIGGER slow BEFORE UPDATE ON items FOR EACH ROW WHEN (OLD.id = 1) EXECUTE FUNCTION slow()"
    )
    driver = shop.driver(statement_timeout=1)
    driver.revert(move, "back")
    assert driver.undone(move, "back") == Undone({"items": 5}, {})


def test_tables_written_by_triggers_and_parts_of_tables(shop: Lab) -> None:
    shop.ask(
        "CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item int);"
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO log (item) VALUES (NEW.id); RETURN NEW; END';"
        "CREATE TRIGGER noted AFTER UPDATE ON items FOR EACH ROW "
        "WHEN (NEW.price = 0) EXECUTE FUNCTION noted();"
        "CREATE TABLE years (id int, year int, PRIMARY KEY (id, year)) PARTITION BY RANGE (year);"
        "CREATE TABLE y1 PARTITION OF years FOR VALUES FROM (1) TO (2);"
        "CREATE TABLE y2 PARTITION OF years FOR VALUES FROM (2) TO (3);"
        "INSERT INTO years VALUES (1, 1), (2, 1), (3, 2)"
    )
    driver = shop.driver()
    before, rows = driver.fingerprint(), shop.ask("SELECT * FROM years ORDER BY 1")
    move = moving(
        "UPDATE items SET price = 0 WHERE id = 1; UPDATE years SET year = 2 WHERE id = 1;"
        "DELETE FROM years WHERE id = 3"
    )
    driver.deploy(move, KEY)
    assert shop.ask("SELECT item FROM log") == [(1,)]
    driver.revert(move, "back")
    assert shop.ask("SELECT * FROM years ORDER BY 1") == rows
    assert shop.ask("SELECT count(*) FROM log") == [(0,)]
    assert driver.undone(move, "back").conflicts == {}
    assert driver.fingerprint() == before


def test_columns_that_come_along_and_columns_that_are_gone(shop: Lab) -> None:
    driver = shop.driver()
    before, rows = driver.fingerprint(), shop.ask(ITEMS)
    move = moving(
        "UPDATE items SET name = upper(name); ALTER TABLE items ADD COLUMN cents int; "
        "UPDATE items SET cents = price * 100",
        UNDO + "ALTER TABLE items DROP COLUMN cents",
    )
    driver.deploy(move, KEY)
    driver.revert(move, "back")
    assert (driver.fingerprint(), shop.ask(ITEMS)) == (before, rows)
    move = moving(
        "UPDATE items SET name = upper(name), price = 0 WHERE id = 1; UPDATE items SET price = 0 WHERE id = 2"
    )
    driver.deploy(move, "again")
    shop.ask("ALTER TABLE items DROP COLUMN name")
    driver.revert(move, "back again")
    assert shop.ask("SELECT price::text FROM items WHERE id < 3 ORDER BY id") == [("0.00",), ("2.00",)]
    assert conflicts(shop) == [("items", '["1"]', "a column that was changed is not there any more")]
    driver.deploy(moving("UPDATE lines SET note = 'q'"), "third")
    shop.ask("DROP TABLE lines")
    driver.revert(moving("UPDATE lines SET note = 'q'"), "back third")
    assert ("lines", '["1"]', "its table is not there any more") in conflicts(shop)


def test_exotic_values_come_back_as_they_were(shop: Lab) -> None:
    shop.ask(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TYPE pair AS (a int, b text);"
        "CREATE TABLE odd (id int PRIMARY KEY, f float8, t timestamptz, i interval, b bytea, a text[], "
        "j jsonb, m mood, p pair, c char(4), v bit(3), n numeric); SET timezone = 'Asia/Tokyo';"
        "INSERT INTO odd VALUES (1, 0.1::float8 / 3, '2024-02-29 12:00:00.123456+09', '1 mon 2 days', "
        "'\\x00ff', '{a,NULL,\"b,\\\"\"}', '{\"k\": [1, null]}', 'good', '(1,\"x, y\")', 'ab', B'101', 1.50);"
        "INSERT INTO odd (id) VALUES (2)"
    )
    rows = shop.ask("SELECT odd::text FROM odd ORDER BY id")
    driver = shop.driver()
    names = ("f", "t", "i", "b", "a", "j", "m", "p", "c", "v", "n")
    for deploy in (f"UPDATE odd SET {', '.join(f'{n} = NULL' for n in names)}", "DELETE FROM odd"):
        driver.deploy(moving(deploy), deploy)
        driver.revert(moving(deploy), f"back {deploy}")
        assert shop.ask("SELECT odd::text FROM odd ORDER BY id") == rows
    assert conflicts(shop) == []


@pytest.mark.parametrize(
    ("deploy", "wanted"),
    [
        ("UPDATE bare SET n = 2", "bare has no primary key"),
        ("TRUNCATE lines", "TRUNCATE leaves nothing to undo"),
        (
            "UPDATE items SET price = 1; ALTER TABLE items ALTER COLUMN id TYPE bigint",
            "is changed after its rows",
        ),
    ],
    ids=["no key", "truncate", "rewritten"],
)
def test_what_can_not_be_undone_is_refused_before_it_is_done(shop: Lab, deploy: str, wanted: str) -> None:
    shop.ask("CREATE TABLE bare (n int); INSERT INTO bare VALUES (1)")
    driver = shop.driver()
    before = driver.fingerprint()
    with pytest.raises(Rejected, match=wanted):
        driver.deploy(moving(deploy), KEY)
    assert (driver.fingerprint(), driver.applied()) == (before, ())
    assert (driver.undo_obstacle(moving(deploy)) is None) == ("bare" not in deploy)
    assert shop.ask("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!%'") == [(0,)]


def test_nothing_is_undone_that_was_not_recorded(shop: Lab) -> None:
    driver = shop.driver()
    unmarked = moving("UPDATE items SET price = 0", "SELECT 1")
    driver.deploy(unmarked, KEY)
    marked = MigrationScript(unmarked.name, unmarked.digest, unmarked.deploy, unmarked.verify, UNDO)
    with pytest.raises(Rejected, match="nothing was recorded"):
        driver.revert(marked, "back")
    assert driver.applied() == ((unmarked.name, unmarked.digest),)


def test_a_killed_migration_leaves_silent_triggers_that_go_the_next_time(shop: Lab, tmp_path: Path) -> None:
    rows = shop.ask(ITEMS)
    url = shop.server.url(shop.name)
    deploy = "UPDATE items SET price = 0; SELECT pg_sleep(60);"
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.drivers.postgresql.migrate_alone", url, str(tmp_path), deploy, UNDO]
    )
    sleeping = "FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    until(lambda: shop.ask(f"SELECT count(*) {sleeping}") == [(1,)])
    worker.kill()
    worker.wait()
    shop.ask(f"SELECT pg_terminate_backend(pid) {sleeping}")
    until(lambda: shop.ask(ITEMS) == rows)
    assert shop.ask("SELECT count(*) FROM pg_trigger WHERE tgname = '!lastgood'") == [(1,)]
    shop.ask("UPDATE items SET name = name")  # Nobody notices.
    assert shop.ask("SELECT count(*) FROM lastgood.undo_events") == [(0,)]
    driver = shop.driver()
    move = moving("UPDATE lines SET note = 'z'")
    driver.deploy(move, KEY)
    assert shop.ask("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '!%'") == [(0,)]
    driver.revert(move, "back")
    assert shop.ask("SELECT note FROM lines") == [("x    ",)]


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["price", "name", "delete", "insert", "key"]), st.integers(1, 6), st.integers(0, 3)
    ),
    max_size=6,
)


def written(writes: list[tuple[str, int, int]]) -> str:
    texts = {
        "price": "UPDATE items SET price = {n} WHERE id = {id}",
        "name": "UPDATE items SET name = 'n{n}' WHERE id = {id}",
        "delete": "DELETE FROM items WHERE id = {id}",
        "insert": "INSERT INTO items VALUES ({id}, 'i{n}', {n}) ON CONFLICT DO NOTHING",
        "key": "UPDATE items SET id = {id} + 10 * ({n} + 1) WHERE id = {id}",
    }
    return "; ".join(texts[kind].format(id=number, n=n) for kind, number, n in writes) or "SELECT 1"


@settings(
    max_examples=8, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(migration=WRITES, since=WRITES)
def test_no_later_write_is_lost_and_no_value_is(
    emptied_lab: Lab, migration: list[tuple[str, int, int]], since: list[tuple[str, int, int]]
) -> None:
    """A row is as before the migration, or as the shop left it, or it is a conflict with its values."""
    lab = emptied_lab
    lab.ask("DROP SCHEMA IF EXISTS lastgood CASCADE; DROP TABLE IF EXISTS lines, items")
    lab.ask(SHOP)
    image = "SELECT id, name, price::text FROM items"
    before = {row[0]: row for row in lab.ask(image)}
    driver = lab.driver()
    move = moving(written(migration))
    driver.deploy(move, KEY)
    deployed = {row[0]: row for row in lab.ask(image)}
    lab.ask(written(since))
    live = {row[0]: row for row in lab.ask(image)}
    driver.revert(move, "back")
    after = {row[0]: row for row in lab.ask(image)}
    if live == deployed:
        assert after == before
        assert driver.undone(move, "back").conflicts == {}
    listed = {
        value for key in ("was", "deployed", "found")
        for (value,) in lab.ask(f"SELECT ({key}->>'id')::int FROM lastgood.undo_conflicts")
    }  # fmt: skip
    for number in live.keys() | before.keys() | after.keys():
        shops = live.get(number) != deployed.get(number)
        if number in listed:
            continue
        row = after.get(number)
        if not shops:
            assert row == before.get(number) or row == live.get(number), number
        elif live.get(number) is not None and row is not None:
            # What the shop wrote is there: the columns in which it differs from what the deploy left.
            was = deployed.get(number) or (None, None, None)
            assert all(a == b for a, b, c in zip(row, live[number], was, strict=True) if b != c), number
        elif live.get(number) is not None:
            pytest.fail(f"{number} was written since, and is gone")
