"""Whatever type a column has: what is put aside comes back, and what is undone is as it was."""

from __future__ import annotations

from typing import Any

from lastgood.ports.undoing import Undone
from lastgood.testing.conformance_migrates import KEY, script
from tests.drivers.mariadb.conftest import Lab
from tests.drivers.mariadb.shoppers import KINDS

MORE = {
    "enum('a','b','ü')": lambda n: "ü",
    "set('a','b')": lambda n: "a,b",
    "timestamp(6) NULL": lambda n: f"2026-03-29 03:30:00.{n:06}",
    "time(3)": lambda n: f"-12:00:00.{n:03}",
    "year": lambda n: 1999,
    "date": lambda n: "0001-01-01",
    "longblob": lambda n: b"\xff\x00'\\\"" * 100,
    "char(5) CHARACTER SET latin1 COLLATE latin1_german2_ci": lambda n: "ÄÖ",
    "bigint unsigned": lambda n: (1 << 64) - 1,
    "decimal(65,30)": lambda n: "12345678901234567890123456789012345.123456789012345678901234567891",
    "point": lambda n: b"\0\0\0\0\x01\x01\0\0\0" + b"\0" * 16,
}
ALL = {**KINDS, **MORE}
COLUMNS = [(f"c`{number}%s", kind) for number, kind in enumerate(ALL)]


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def values(lab: Lab) -> list[tuple[Any, ...]]:
    every = ", ".join(f"HEX({quoted(name)}), {quoted(name)}" for name, _ in COLUMNS)
    return lab.ask(f"SELECT id, {every} FROM things ORDER BY id")


def fill(lab: Lab, *ids: int) -> None:
    """Every value is another one."""
    session = lab.session()
    with session.cursor() as cursor:
        for number in ids:
            row = {name: ALL[kind](number) for name, kind in COLUMNS}
            sets = ", ".join(f"{quoted(name)} = %s".replace("%s`", "%%s`") for name in row)
            cursor.execute(f"UPDATE things SET {sets} WHERE id = {number}", list(row.values()))
    session.close()


def test_every_type_comes_back_and_is_undone(lab: Lab) -> None:
    lab.ask("CREATE TABLE things (id int PRIMARY KEY, plain int)")
    lab.ask("INSERT INTO things SELECT seq, seq FROM seq_1_to_3")
    adds = ", ".join(f"ADD COLUMN {quoted(name)} {kind}" for name, kind in COLUMNS)
    drops = ", ".join(f"DROP COLUMN {quoted(name)}" for name, _ in COLUMNS)
    added = script("0001_wide", f"ALTER TABLE things {adds}", "", f"ALTER TABLE things {drops}")
    driver = lab.driver()
    driver.deploy(added, KEY)
    fill(lab, 1, 2)
    before = values(lab)
    assert None not in before[0]
    put_aside = driver.revert(added, "back")
    assert put_aside == {f"things.{name}": 2 for name, _ in COLUMNS}
    assert driver.deploy(added, "again") == put_aside
    assert values(lab) == before
    nothing = ", ".join(f"{quoted(name)} = NULL" for name, _ in COLUMNS)
    wrong = script(
        "0002_wrong",
        f"UPDATE things SET {nothing} WHERE id = 1; DELETE FROM things WHERE id = 2;"
        "INSERT INTO things (id) VALUES (9);",
        "",
        "-- lastgood: undo rows",
    )
    driver.deploy(wrong, KEY)
    driver.revert(wrong, "back")
    assert driver.undone(wrong, "back") == Undone({"things": 3}, {})
    assert values(lab) == before
