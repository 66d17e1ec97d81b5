"""What a restore keeps of what was written, table by table and column by column."""

from __future__ import annotations

import pytest

from lastgood.domain.errors import Rejected
from lastgood.drivers.sqlite.merging import Merge, Step
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.sqlite.conftest import Lab
from tests.drivers.sqlite.day import Day


@pytest.fixture
def mode() -> str:
    return "wal"


@pytest.fixture
def day(lab: Lab) -> Day:
    return Day.begin(lab)


def test_what_only_one_of_both_changed_is_merged(day: Day) -> None:
    day.migrate("UPDATE items SET price = 0;")
    day.lab.ask("UPDATE items SET stock = 7, name = 'ONE' WHERE id = 1")
    day.lab.ask("UPDATE items SET price = 99 WHERE id = 2")
    swapped = day.go_back()
    assert day.lab.ask("SELECT * FROM items ORDER BY id") == [
        (1, "ONE", 10, 7), (2, "two", 20, 98), (3, "three", 30, 98),
    ]  # fmt: skip
    assert day.conflicts() == [("items", '["2"]', "price", "20", "0", "99")]
    assert (swapped.salvage.carried, swapped.salvage.conflicts) == ({"items": 1}, {"items": 1})


def test_a_dropped_column_comes_back_with_what_was_written_before(day: Day) -> None:
    day.lab.ask("UPDATE orders SET note = 'written before' WHERE id = 2")
    day.migrate("DROP INDEX orders_by_note; ALTER TABLE orders DROP COLUMN shout; "
                "ALTER TABLE orders DROP COLUMN note; ALTER TABLE orders ADD COLUMN extra text;")  # fmt: skip
    day.lab.ask("UPDATE orders SET paid = 1, extra = 'new' WHERE id = 1")
    day.lab.ask("INSERT INTO orders (customer, extra) VALUES ('c4', NULL)")
    day.go_back()
    assert day.lab.ask("SELECT id, customer, note, paid, shout FROM orders ORDER BY id") == [
        (1, "c1", "n1", 1, "N1"), (2, "c2", "written before", 0, "WRITTEN BEFORE"), (3, "c3", "n3", 0, "N3"),
        (4, "c4", None, 0, None),
    ]  # fmt: skip
    assert day.conflicts() == [("orders", '["1"]', "extra", None, None, "new")]


def test_a_dropped_table_comes_back_with_what_was_written_before(day: Day) -> None:
    day.lab.ask("INSERT INTO visits VALUES ('/pay')")
    day.migrate("DROP TABLE visits; CREATE TABLE fresh (id integer PRIMARY KEY, x text);")
    day.lab.ask("INSERT INTO fresh VALUES (1, 'only there')")
    day.go_back()
    assert day.lab.ask("SELECT page FROM visits") == [("/",), ("/cart",), ("/pay",)]
    assert day.reasons() == [("fresh", '["1"]', "", "the old shape has no such table")]


def test_a_table_made_anew_with_other_keys_is_not_merged(day: Day) -> None:
    """Row 2 now is what row 1 was: what is written to it must not go to another one."""
    day.migrate(
        "CREATE TABLE n (id integer PRIMARY KEY, name text NOT NULL, price numeric NOT NULL, stock integer);"
        "DROP TRIGGER sold; INSERT INTO n SELECT id % 3 + 1, name, price, stock FROM items; DROP TABLE items;"
        "ALTER TABLE n RENAME TO items;"
    )
    day.lab.ask("UPDATE items SET stock = 5 WHERE id = 2")
    swapped = day.go_back()
    assert day.lab.ask("SELECT id, name, stock FROM items ORDER BY id") == [
        (1, "one", 98), (2, "two", 98), (3, "three", 98),
    ]  # fmt: skip
    assert swapped.salvage.conflicts == {"items": 1}


def test_numbers_go_on_behind_those_that_were_handed_out(day: Day) -> None:
    day.migrate("UPDATE orders SET paid = 1;")
    day.lab.ask("INSERT INTO orders (customer) VALUES ('c4')")
    day.lab.ask("DELETE FROM orders WHERE customer = 'c4'")
    day.go_back()
    day.lab.ask("INSERT INTO orders (customer) VALUES ('c5')")
    assert day.lab.ask("SELECT id FROM orders WHERE customer = 'c5'") == [(5,)]


def test_triggers_do_not_act_again(day: Day) -> None:
    day.migrate("UPDATE items SET price = 0;")
    day.lab.ask("INSERT INTO orders (customer) VALUES ('c4')")
    day.lab.ask("INSERT INTO lines VALUES (4, 1, 5)")
    day.go_back()
    assert day.lab.ask("SELECT stock FROM items WHERE id = 1") == [(93,)]
    day.lab.ask("INSERT INTO lines VALUES (4, 2, 1)")
    assert day.lab.ask("SELECT stock FROM items WHERE id = 2") == [(97,)]


def test_a_row_that_refers_to_one_of_the_migration_is_listed(day: Day) -> None:
    day.migrate("INSERT INTO items VALUES (9, 'nine', 9, 9);")
    day.lab.ask("INSERT INTO lines VALUES (1, 9, 1)")
    day.go_back()
    assert day.lab.ask("SELECT count(*) FROM lines") == [(3,)]
    reason = "it refers to a row of items which is not in the copy"
    assert ("lines", '["1", "9"]', "", reason) in day.reasons()


def test_a_row_that_others_still_refer_to_stays(day: Day) -> None:
    day.migrate("DELETE FROM lines WHERE order_id = 3;")
    day.lab.ask("DELETE FROM orders WHERE id = 3")
    day.go_back()
    assert day.lab.ask("SELECT order_id, item FROM lines WHERE order_id = 3") == [(3, 3)]
    assert day.lab.ask("SELECT id FROM orders WHERE id = 3") == [(3,)]
    assert day.reasons() == [("orders", '["3"]', "", "rows of lines still refer to it")]


def test_values_that_one_row_only_can_have_change_places(day: Day) -> None:
    day.migrate("UPDATE items SET price = 0;")
    day.lab.script(
        "UPDATE orders SET customer = NULL WHERE id = 1; UPDATE orders SET customer = 'c1' WHERE id = 2;"
        "UPDATE orders SET customer = 'c2' WHERE id = 1;"
        "INSERT OR REPLACE INTO orders (id, customer) VALUES (9, 'c3');"
    )
    day.go_back()
    assert day.lab.ask("SELECT id, customer FROM orders ORDER BY id") == [(1, "c2"), (2, "c1"), (9, "c3")]
    assert day.conflicts() == []


def test_the_migration_and_its_revert_are_both_ours(day: Day) -> None:
    day.migrate("UPDATE items SET price = 0;", revert="UPDATE items SET price = 1;")
    day.lab.ask("UPDATE items SET stock = 1 WHERE id = 1")
    driver = day.lab.driver()
    driver.revert(
        script("0001_bad", "UPDATE items SET price = 0;", "SELECT 1;", "UPDATE items SET price = 1;"), KEY
    )
    seen = driver.writes_since(day.taken, ())
    assert [(t.table, t.inserted, t.updated, t.deleted) for t in seen.tables] == [("items", 0, 1, 0)]
    day.go_back()
    assert day.lab.ask("SELECT price, stock FROM items ORDER BY id") == [(10, 1), (20, 98), (30, 98)]


def test_nothing_of_ours_is_left_in_the_file(day: Day) -> None:
    day.migrate("UPDATE items SET price = 0;")
    day.lab.driver().end_capture(day.taken)
    ours = "SELECT name FROM sqlite_schema WHERE name LIKE 'lastgood%' AND type = 'table' ORDER BY 1"
    assert day.lab.ask(ours) == [("lastgood_revisions",)]


def test_virtual_tables_are_in_the_way(lab: Lab) -> None:
    lab.ask("CREATE VIRTUAL TABLE words USING fts5 (word)")
    obstacle = lab.driver().capture_obstacle()
    assert "words" in str(obstacle)
    with pytest.raises(Rejected, match="words"):
        lab.driver().capture("c")
    assert lab.driver().snapshot("c").fingerprint == lab.driver().fingerprint()


def test_keep_is_closed_over_foreign_keys(day: Day) -> None:
    with pytest.raises(Rejected, match="lines → orders"):
        day.lab.driver().refuse_restore(day.taken, ("lines", "items"))


def test_a_row_whose_key_may_be_anothers_is_never_merged() -> None:
    cut = {"id": 1, "v": "a", "n": 0}
    moved = {"id": 1, "v": "b", "n": 0}
    merge = Merge.of(cut, [Step(cut, moved, True)], {**moved, "n": 1}, {})
    assert merge.kept == cut
    assert list(merge.conflicts) == [""]
    sure = Merge.of(cut, [Step(cut, moved, False)], {**moved, "n": 1}, {})
    assert (sure.kept, sure.conflicts) == ({**cut, "n": 1}, {})


def test_text_that_is_no_utf8_stays_what_it_is(lab: Lab) -> None:
    lab.script("CREATE TABLE names (name text PRIMARY KEY NOT NULL, v text);"
               "INSERT INTO names VALUES (CAST(x'ff00fe' AS TEXT), 'a');")  # fmt: skip
    day = Day(lab, lab.driver().capture("cut"))
    day.migrate("INSERT INTO names VALUES ('mine', 'b');")
    lab.script("UPDATE names SET v = CAST(x'fffe' AS TEXT) WHERE v = 'a';")
    day.go_back()
    assert lab.ask("SELECT hex(name), hex(v), typeof(name) FROM names") == [("FF00FE", "FFFE", "text")]


@pytest.mark.parametrize("default", ["pending", '"pending"', "[pending]", "('pending')"])
def test_what_a_new_column_holds_by_itself_is_nobodys_write(lab: Lab, default: str) -> None:
    """A number as a column of texts holds it, and a name that is a text, whatever columns are called so."""
    day = Day.begin(
        lab, "CREATE TABLE jobs (id integer PRIMARY KEY, pending text); INSERT INTO jobs VALUES (1, 'x');"
    )
    day.migrate(
        f"ALTER TABLE jobs ADD COLUMN state text DEFAULT {default}; "
        "ALTER TABLE jobs ADD COLUMN fee real DEFAULT 0; ALTER TABLE jobs ADD COLUMN code text DEFAULT 7;"
    )
    assert lab.driver().writes_since(day.taken, ()).tables == ()
    lab.ask("UPDATE jobs SET pending = 'y'")
    lab.ask("INSERT INTO jobs (id) VALUES (2)")
    day.go_back()
    assert lab.ask("SELECT * FROM jobs") == [(1, "y"), (2, None)]
    assert day.conflicts() == []


def test_a_key_written_otherwise_is_the_same_row(lab: Lab) -> None:
    day = Day.begin(
        lab,
        "CREATE TABLE codes (code text PRIMARY KEY COLLATE NOCASE, a, b);"
        "INSERT INTO codes VALUES ('x', 1, 1);",
    )
    lab.ask("UPDATE codes SET code = 'X', a = 7")
    day.migrate("UPDATE codes SET b = 2;")
    (written,) = lab.driver().writes_since(day.taken, ()).tables
    assert (written.updated, written.inserted) == (1, 0)
    day.go_back()
    assert lab.ask("SELECT * FROM codes") == [("X", 7, 1)]
    assert day.conflicts() == []


def test_a_key_that_only_looks_like_the_number_of_the_row_may_be_missing(lab: Lab) -> None:
    """INTEGER PRIMARY KEY DESC is none: the library lets it be NULL."""
    day = Day.begin(
        lab, "CREATE TABLE t (id integer PRIMARY KEY DESC, note); INSERT INTO t VALUES (NULL, 1), (NULL, 2);"
    )
    (reason,) = lab.driver().writes_since(day.taken, ()).reasons
    assert reason.params == {"table": "t"}


def test_verify_finds_nothing_of_what_the_migration_dropped(day: Day) -> None:
    """Though the state before is at hand while a capture is open."""
    gone = script("0001_gone", "DROP TABLE visits;", "SELECT page FROM visits;", "")
    with pytest.raises(Rejected, match="no such table: visits"):
        day.lab.driver().deploy(gone, KEY)
    assert day.lab.ask("SELECT count(*) FROM visits") == [(2,)]
