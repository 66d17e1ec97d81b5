"""``-- lastgood: undo rows``: what a data migration did goes back where nobody changed it since."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

import pymysql
import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.plan import Reversibility
from lastgood.drivers.mariadb import undoing
from lastgood.ports.drivers import MigrationScript
from lastgood.ports.undoing import UndoesRows, Undone
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.mariadb.conftest import Lab
from tests.drivers.mariadb.test_mariadb_killed import Over, killed_at

UNDO = "-- lastgood: undo rows\n"
SHOP = """
CREATE TABLE items (
    id int PRIMARY KEY, name varchar(20), price decimal(8,2), twice decimal(9,2) AS (price * 2) STORED,
    raw varbinary(9), ratio double, at timestamp(3) NULL);
CREATE TABLE lines_ (id int PRIMARY KEY, item int, note char(5), FOREIGN KEY (item) REFERENCES items (id));
CREATE TABLE tags (id int PRIMARY KEY, item int,
    FOREIGN KEY (item) REFERENCES items (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE log (line text);
INSERT INTO items (id, name, price, raw, ratio, at)
    SELECT seq, CONCAT('item ', seq), seq, UNHEX('ff00'), seq / 3, '2026-01-02 03:04:05.678' FROM seq_1_to_5;
INSERT INTO lines_ VALUES (1, 1, 'x')
"""
ITEMS = "SELECT id, name, CAST(price AS char), raw, ratio, CAST(at AS char) FROM items ORDER BY id"
NAMES = "SELECT id, name, CAST(price AS char) FROM items ORDER BY id"


def moving(deploy: str, revert: str = UNDO) -> MigrationScript:
    return script("0001_move", deploy, "SELECT 1", revert)


@pytest.fixture
def shop(lab: Lab) -> Lab:
    for statement in SHOP.split(";"):
        lab.ask(statement)
    return lab


def conflicts(lab: Lab) -> list[tuple[object, ...]]:
    return lab.ask(
        "SELECT relation, c.`key`, reason FROM lastgood_undo_conflicts c "
        "JOIN lastgood_undo u ON u.id = c.lot ORDER BY 1, 2"
    )


def test_all_of_it_goes_back_and_leaves_no_trace(shop: Lab) -> None:
    driver = shop.driver()
    assert isinstance(driver, UndoesRows)
    shop.ask("DROP TABLE tags")
    before, rows = driver.fingerprint(), shop.ask(ITEMS)
    move = moving(
        "UPDATE items SET price = 0, ratio = 0.1, at = NULL WHERE id < 4; SELECT 1;"
        "UPDATE items SET price = price + 1, raw = 'a\\'b' WHERE id < 3;"
        "DELETE FROM items WHERE id = 5; INSERT INTO items (id, name) VALUES (6, 'six'), (7, 'seven');"
        "UPDATE items SET name = 'a, \"b\" \\\\ ü' WHERE id = 7; DELETE FROM items WHERE id = 7;"
        "UPDATE items SET id = 40 WHERE id = 4; UPDATE items SET id = 4 WHERE id = 3;"
        "INSERT INTO items (id, name) VALUES (3, 'three');"
    )
    assert driver.undo_obstacle(move) is None
    assert driver.classify(move).undoes_rows
    assert driver.classify(move).reversibility is Reversibility.EXACT
    driver.deploy(move, KEY)
    driver.deploy(move, KEY)
    assert driver.fingerprint() == before
    assert shop.ask("SELECT id FROM items ORDER BY 1") == [(1,), (2,), (3,), (4,), (6,), (40,)]
    shop.ask("UPDATE items SET name = 'ours' WHERE id = 1")
    driver.revert(move, "back")
    driver.revert(move, "back")
    rows[0] = (1, "ours", *rows[0][2:])
    assert shop.ask(ITEMS) == rows
    assert driver.undone(move, "back") == Undone({"items": 7}, {})
    assert driver.fingerprint() == before
    driver.deploy(move, "again")
    driver.revert(move, "back again")
    assert shop.ask(ITEMS) == rows


def test_what_somebody_changed_since_stays_and_is_listed(shop: Lab) -> None:
    driver = shop.driver()
    shop.ask("DROP TABLE tags")
    move = moving(
        "UPDATE items SET price = 0; DELETE FROM items WHERE id = 5;"
        "INSERT INTO items (id, name, price) VALUES (6, 'six', 6), (7, 'seven', 7), (8, 'eight', 8)"
    )
    driver.deploy(move, KEY)
    for statement in (
        "UPDATE items SET price = 9 WHERE id = 1", "UPDATE items SET name = 'new' WHERE id = 2",
        "DELETE FROM items WHERE id = 3", "INSERT INTO items (id, name, price) VALUES (5, 'other', 1)",
        "UPDATE items SET name = 'mine' WHERE id = 7", "INSERT INTO lines_ VALUES (2, 8, 'y')",
    ):  # fmt: skip
        shop.ask(statement)
    driver.revert(move, "back")
    assert shop.ask(NAMES) == [
        (1, "item 1", "9.00"), (2, "new", "2.00"), (4, "item 4", "4.00"), (5, "other", "1.00"),
        (7, "mine", "7.00"), (8, "eight", "8.00"),
    ]  # fmt: skip
    assert driver.undone(move, "back") == Undone({"items": 3}, {"items": 5})
    assert conflicts(shop) == [
        ("items", '["1"]', "it was changed since"),
        ("items", '["3"]', "it was deleted since"),
        ("items", '["5"]', "a row with its key is there"),
        ("items", '["7"]', "it was changed since"),
        ("items", '["8"]', "other rows refer to it"),
    ]
    values = "JSON_VALUE(was, '$.price'), JSON_VALUE(deployed, '$.price'), JSON_VALUE(found, '$.price')"
    assert shop.ask(f"SELECT {values} FROM lastgood_undo_conflicts WHERE `key` = '[\"1\"]'") == [
        ("1.00", "0.00", "9.00")
    ]


def test_a_value_that_is_taken_by_now_is_a_conflict_of_its_own(shop: Lab) -> None:
    shop.ask("CREATE UNIQUE INDEX one_name ON items (name)")
    driver = shop.driver()
    move = moving("UPDATE items SET name = CONCAT('was ', name)")
    driver.deploy(move, KEY)
    shop.ask("INSERT INTO items (id, name) VALUES (9, 'item 2')")
    driver.revert(move, "back")
    assert [r[1] for r in shop.ask(NAMES)] == ["item 1", "was item 2", "item 3", "item 4", "item 5", "item 2"]
    ((_, key, reason),) = conflicts(shop)
    assert key == '["2"]'
    assert "Duplicate entry" in str(reason)


def test_with_definitions_around_it_and_a_trigger_that_writes(shop: Lab) -> None:
    driver = shop.driver()
    shop.ask("CREATE TABLE seen (id int PRIMARY KEY, name varchar(20))")
    shop.ask(
        "CREATE TRIGGER see AFTER UPDATE ON items FOR EACH ROW "
        "INSERT INTO seen VALUES (NEW.id, OLD.name) ON DUPLICATE KEY UPDATE name = 'twice'"
    )
    move = script(
        "0002_colour",
        "ALTER TABLE items ADD COLUMN colour varchar(9); CREATE TABLE colours (id int PRIMARY KEY);"
        "INSERT INTO colours VALUES (1); UPDATE items SET colour = 'red', name = UPPER(name);",
        "SELECT colour FROM items",
        UNDO + "ALTER TABLE items DROP COLUMN colour; DROP TABLE colours;",
    )
    driver.deploy(move, KEY)
    assert shop.ask("SELECT COUNT(*) FROM seen") == [(5,)]
    shop.ask("UPDATE items SET colour = 'blue', name = 'mine' WHERE id = 2")
    assert driver.revert(move, "back") == {"colours": 1, "items.colour": 5}
    assert [r[1] for r in shop.ask(NAMES)] == ["item 1", "mine", "item 3", "item 4", "item 5"]
    # What the trigger wrote goes back too; it fires again, as for anybody, where rows do.
    assert driver.undone(move, "back").rows["items"] == 4
    # What deploy.sql wrote anew is newer than what was put aside.
    assert driver.deploy(move, "again") == {"colours": 0, "items.colour": 4}


@pytest.mark.parametrize(
    ("deploy", "reason"),
    [
        ("DELETE FROM log", "log has no primary key"),
        ("DELETE FROM items WHERE id = 5", "rows of tags change along"),
        ("UPDATE items SET id = id + 100 WHERE id = 5", "rows of tags change along"),
        ("UPDATE items SET price = 1; ALTER TABLE items ADD COLUMN x int", "items is changed by the same"),
        ("ALTER TABLE items MODIFY price decimal(9, 3); UPDATE items SET price = 1", "changed by the same"),
    ],
)
def test_what_could_not_be_undone_is_refused_before(shop: Lab, deploy: str, reason: str) -> None:
    driver = shop.driver()
    move, before = moving(deploy), shop.ask(ITEMS)
    assert reason in str(driver.undo_obstacle(move))
    with pytest.raises(Rejected, match=reason) as caught:
        driver.deploy(move, KEY)
    assert caught.value.cause is Cause.SCRIPT_ERROR
    assert driver.applied() == ()
    assert shop.ask(ITEMS) == before


def test_a_server_whose_log_says_too_little_is_named(shop: Lab) -> None:
    driver = shop.driver()
    shop.ask("SET GLOBAL binlog_row_image = MINIMAL")
    try:
        assert "binlog_row_image is MINIMAL" in str(
            driver.undo_obstacle(moving("UPDATE items SET price = 1"))
        )
        with pytest.raises(Rejected, match="binlog_row_image is MINIMAL"):
            driver.deploy(moving("UPDATE items SET price = 1"), KEY)
    finally:
        shop.ask("SET GLOBAL binlog_row_image = FULL")
    assert driver.applied() == ()


def test_the_rehearsal_tries_it(shop: Lab) -> None:
    driver = shop.driver()
    taken = driver.snapshot("r")
    seen = driver.rehearse(taken, [moving("UPDATE items SET price = 0, at = NULL")], [])
    assert seen.difference == ""
    # A time that the server puts into each row that is written.
    shop.ask("ALTER TABLE items ADD COLUMN touched timestamp(6) NOT NULL ON UPDATE CURRENT_TIMESTAMP(6)")
    seen = driver.rehearse(driver.snapshot("s"), [moving("UPDATE items SET price = 0")], [])
    assert "items has other rows" in seen.difference or seen.difference == ""


def test_killed_anywhere_it_is_recorded_and_undone_once(shop: Lab) -> None:
    shop.ask("DROP TABLE tags")
    move = moving("UPDATE items SET price = 0; INSERT INTO items (id, name) VALUES (6, 'six')")
    before = shop.ask(ITEMS)
    killed = 0
    for point in range(3, 600, 23):
        over, key = 0, f"key {point}"
        for act in (shop.driver().deploy, shop.driver().revert):
            try:
                killed_at(point, partial(act, move, key))
            except Over:
                over += 1
            else:
                killed += 1
            act(move, key)
        assert shop.ask(ITEMS) == before, f"killed at {point}"
        assert shop.driver().undone(move, key) == Undone({"items": 6}, {}), f"killed at {point}"
        if over == 2:
            break
    assert killed >= 4


def test_what_the_documentation_says_removes_all_of_it(shop: Lab) -> None:
    page = (Path(__file__).parents[3] / "docs" / "databases.md").read_text()
    block = page.partition("<!-- mariadb-forget -->")[2].partition("```sql\n")[2].partition("```")[0]
    assert "lastgood_kept_1" in block
    driver = shop.driver()
    added = script(
        "0001_gift", "ALTER TABLE items ADD COLUMN gift int", "", "ALTER TABLE items DROP COLUMN gift"
    )
    driver.deploy(added, KEY)
    shop.ask("UPDATE items SET gift = 1")
    driver.revert(added, "back")
    move = moving("UPDATE items SET price = 0")
    driver.deploy(move, KEY)
    session = shop.session()
    with session.cursor() as cursor:
        for statement in filter(str.strip, block.split(";")):
            cursor.execute(statement)
    session.close()
    assert shop.ask("SHOW TABLES LIKE 'lastgood\\_kept\\_%'") == []
    for table in ("lastgood_kept", "lastgood_undo", "lastgood_undo_rows", "lastgood_undo_runs"):
        assert shop.ask(f"SELECT * FROM {table}") == []
    with pytest.raises(Rejected, match="nothing was recorded"):
        driver.revert(move, "back")
    assert driver.deploy(added, "again") == {}


def test_what_follows_an_undo_that_waited_runs_in_its_own_time_zone(shop: Lab) -> None:
    move = moving("UPDATE items SET price = 0")
    shop.driver().deploy(move, KEY)
    own = shop.session(init_command="SET time_zone = '+09:00', innodb_lock_wait_timeout = 1")
    settings = "SELECT @@SESSION.time_zone, @@SESSION.sql_mode = @@GLOBAL.sql_mode"
    with contextlib.closing(shop.session(autocommit=False)) as other, contextlib.closing(own):
        with other.cursor() as cursor:
            cursor.execute("SELECT * FROM items FOR UPDATE")
        with pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
            undoing.undo(own, move.name, "back", "here")
        with own.cursor() as cursor:
            cursor.execute(settings)
            assert cursor.fetchall() == (("+09:00", 1),), "the next try, and revert.sql, go on with it"


@pytest.mark.parametrize("moved", [1, 10**9], ids=["inside", "beyond"])
def test_a_log_that_is_another_one_is_in_no_later_migrations_way(shop: Lab, moved: int) -> None:
    """Of a server that took over, or that began its log anew, before what was deployed could be recorded."""
    driver, move = shop.driver(), moving("UPDATE items SET price = 0")
    driver.deploy(move, KEY)
    ((began,),) = shop.ask("SELECT began FROM lastgood_undo_runs")
    file, _, offset = str(began).rpartition(":")
    shop.ask(f"UPDATE lastgood_undo_runs SET recorded = 0, began = '{file}:{int(offset) + moved}'")
    driver.deploy(script("0002_next", "SELECT 1", "SELECT 1", ""), KEY)
    with pytest.raises(Rejected, match="nothing was recorded"):
        undo(shop, move)


def undo(lab: Lab, move: MigrationScript) -> None:
    """As if it were the newest."""
    lab.ask(f"DELETE FROM lastgood_revisions WHERE name <> '{move.name}'")
    lab.driver().revert(move, "back")
