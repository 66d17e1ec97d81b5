"""What stands in the way of a capture and of a restore, and is told before anything is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.testing.mariadb_server import mariadb
from tests.drivers.mariadb.conftest import Lab, Tools
from tests.drivers.mariadb.day import RESTORE, Day
from tests.drivers.postgresql.waiting import until


@pytest.fixture
def day(lab: Lab) -> Day:
    return Day.begin(lab)


@contextlib.contextmanager
def setting(lab: Lab, name: str, value: object) -> Iterator[None]:
    (before,) = lab.ask(f"SELECT @@GLOBAL.{name}", "")[0]
    lab.ask(f"SET GLOBAL {name} = {value}", "")
    try:
        yield
    finally:
        lab.ask(f"SET GLOBAL {name} = {before}", "")


def refused(day: Day, *keep: str, **settings: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        day.lab.driver(**settings).refuse_restore(day.taken, keep)
    return caught.value


def test_a_log_that_tells_too_little_is_an_obstacle(lab: Lab) -> None:
    for name, value in (
        ("binlog_format", "MIXED"), ("binlog_row_image", "MINIMAL"), ("binlog_row_metadata", "NO_LOG"),
        ("log_bin_compress", 1), ("binlog_expire_logs_seconds", 3600),
    ):  # fmt: skip
        with setting(lab, name, value):
            assert name in str(lab.driver().capture_obstacle())
            with pytest.raises(Rejected, match=name):
                lab.driver().capture("cut")
    assert lab.driver().capture_obstacle() is None


def test_the_missing_right_is_named_and_those_named_are_enough(lab: Lab) -> None:
    role = f"r_{lab.name}"
    mine = {"url": lab.server.url(lab.name, role)}
    lab.ask(f"CREATE USER {role}; ", "")
    lab.ask(f"GRANT ALL ON {lab.name}.* TO {role}", "")
    assert "BINLOG MONITOR" in str(lab.driver(**mine).capture_obstacle())
    lab.ask(f"GRANT BINLOG MONITOR ON *.* TO {role}", "")
    assert "REPLICATION SLAVE" in str(lab.driver(**mine).capture_obstacle())
    lab.ask(f"GRANT REPLICATION SLAVE ON *.* TO {role}", "")
    assert lab.driver(**mine).capture_obstacle() is None
    day = Day.begin(lab)
    # Somebody else's, who defined it: to make it again in the copy takes more rights.
    lab.ask("DROP VIEW unpaid")
    day = Day(lab, lab.driver(**mine).capture("its own"))
    error = refused(day, **mine)
    assert error.cause is Cause.PERMISSION
    lab.ask(f"GRANT ALL ON `{lab.name}\\_%`.* TO {role}", "")
    lab.ask("INSERT INTO orders (customer) VALUES ('x')")
    driver = lab.driver(**mine)
    driver.refuse_restore(day.taken, ())
    driver.prepare_copy(day.taken, RESTORE)
    driver.swap(day.taken, RESTORE, ())
    assert lab.ask("SELECT id FROM orders WHERE customer = 'x'") == [(21,)]
    lab.ask("INSERT INTO orders (customer) VALUES ('y')")
    assert lab.ask("SELECT id > 1021 FROM orders WHERE customer = 'y'") == [(1,)]
    lab.ask(f"DROP USER {role}", "")


def test_what_the_server_does_not_move_is_in_the_way(day: Day) -> None:
    ask, name = day.lab.ask, day.lab.name
    ask("CREATE TRIGGER shouts BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = 'x'")
    assert "shouts" in str(refused(day))
    ask("DROP TRIGGER shouts")
    ask("CREATE OR REPLACE VIEW unpaid AS SELECT id, note FROM orders")
    assert "view unpaid" in str(refused(day))
    ask("CREATE OR REPLACE VIEW unpaid AS SELECT id FROM orders WHERE NOT paid")
    ask(f"CREATE DATABASE {name}_other", "")
    refers = f"FOREIGN KEY (o) REFERENCES {name}.orders (id)"
    ask(f"CREATE TABLE {name}_other.t (id int PRIMARY KEY, o bigint, {refers})")
    assert f"{name}_other.t" in str(refused(day))
    ask(f"DROP DATABASE {name}_other")
    day.lab.driver().refuse_restore(day.taken, ())


def test_keep_is_closed_over_foreign_keys(day: Day) -> None:
    assert "items → orders, items → products" in str(refused(day, "items"))
    day.lab.driver().refuse_restore(day.taken, ["items", "orders", "products"])


def test_a_name_that_the_log_has_otherwise_is_never_nothing(tmp_path: Path) -> None:
    with mariadb(tmp_path / "server", settings={"lower_case_table_names": "1"}) as server:
        lab = Lab(server, "Shop", Tools(tmp_path))
        lab.ask("CREATE DATABASE Shop", "")
        lab.ask("CREATE TABLE Orders (id int PRIMARY KEY)")
        obstacle = lab.driver().capture_obstacle()
        assert "write shop in the url" in str(obstacle)
        with pytest.raises(Rejected, match="knows database Shop as shop"):
            lab.driver().capture("cut")
        small = {"url": server.url("shop")}
        taken = lab.driver(**small).capture("cut")
        lab.ask("INSERT INTO Orders VALUES (1)")
        (seen,) = lab.driver(**small).writes_since(taken, ()).tables
        assert (seen.table, seen.inserted) == ("orders", 1)
        assert not lab.driver().writes_since(taken, ()).complete


def test_a_log_that_is_gone_is_told_and_never_nothing(day: Day) -> None:
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    day.lab.ask("FLUSH BINARY LOGS")
    day.lab.ask("INSERT INTO orders (customer) VALUES ('after')")
    assert driver.writes_since(day.taken, ()).complete
    newest = str(day.lab.ask("SHOW MASTER STATUS")[0][0])

    def purged() -> bool:
        """The server keeps a file as long as a session that read it has not ended."""
        day.lab.ask(f"PURGE BINARY LOGS TO '{newest}'")
        return day.taken.cut.split(":")[0] not in {row[0] for row in day.lab.ask("SHOW BINARY LOGS")}

    until(purged)
    seen = driver.writes_since(day.taken, ())
    assert not seen.complete
    assert "expired or was purged" in str(seen.reasons[0])
    for act in (lambda: driver.refuse_lost(day.taken), lambda: driver.swap(day.taken, RESTORE, ())):
        with pytest.raises(Rejected, match="expired or was purged"):
            act()
    assert day.lab.ask("SELECT COUNT(*) FROM orders") == [(21,)]


def test_what_is_not_in_the_log_row_by_row_is_said(day: Day) -> None:
    with contextlib.closing(day.lab.session()) as client, client.cursor() as cursor:
        cursor.execute("SET SESSION binlog_format = STATEMENT")
        cursor.execute("UPDATE orders SET paid = true WHERE id = 1")
    seen = day.lab.driver().writes_since(day.taken, ())
    assert not seen.complete
    assert "as text only" in str(seen.reasons[0])
    driver = day.lab.driver()
    driver.prepare_copy(day.taken, RESTORE)
    with pytest.raises(Rejected, match="as text only"):
        driver.swap(day.taken, RESTORE, ())
    assert day.lab.ask("SELECT paid FROM orders WHERE id = 1") == [(1,)]


def test_a_table_without_a_key_is_named_and_its_rows_are_listed(lab: Lab) -> None:
    day = Day.begin(lab, "CREATE TABLE log (what varchar(10));INSERT INTO log VALUES ('a');")
    day.migrate("UPDATE products SET price = 0;")
    lab.ask("INSERT INTO log VALUES ('b'), ('c')")
    seen = lab.driver().writes_since(day.taken, ())
    assert {t.table: t.inserted for t in seen.tables} == {"log": 2}
    assert [reason.params["tables"] for reason in seen.reasons] == ["log"]
    assert day.go_back().salvage.conflicts == {"log": 2}
    assert lab.ask("SELECT what FROM log") == [("a",)]


def test_a_row_larger_than_what_the_server_takes_at_once_is_carried(lab: Lab) -> None:
    lab.ask("SET GLOBAL max_allowed_packet = 1048576")
    try:
        day = Day.begin(
            lab,
            "CREATE TABLE papers (id int PRIMARY KEY, a longtext CHECK (JSON_VALID(a)), b longblob, "
            "c longtext)",
        )
        day.migrate("UPDATE products SET price = 0;")
        text = """CONCAT('["', REPEAT('ü!', 100000), REPEAT("'", 99999), '"]')"""
        raw = "REPEAT(x'00ff27', 200000)"
        lab.ask(f"INSERT INTO papers VALUES (1, {text}, {raw}, {text})")
        lab.ask("INSERT INTO papers VALUES (2, NULL, NULL, NULL), (3, '1', 'b', 'c')")
        lab.ask(f"UPDATE papers SET b = {raw}, c = {text}, a = {text} WHERE id = 2")
        wanted = lab.ask("SELECT id, MD5(a), MD5(b), MD5(c) FROM papers ORDER BY id")
        swapped = day.go_back()
        assert lab.ask("SELECT id, MD5(a), MD5(b), MD5(c) FROM papers ORDER BY id") == wanted
        assert swapped.salvage.conflicts == {}
    finally:
        lab.ask("SET GLOBAL max_allowed_packet = DEFAULT")
