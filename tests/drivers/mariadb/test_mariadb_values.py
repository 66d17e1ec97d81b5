"""Values of the log are, letter by letter, what the server prints of them."""

from __future__ import annotations

import contextlib

from lastgood.drivers.mariadb import changes
from lastgood.drivers.mariadb.changes import Parser
from lastgood.drivers.mariadb.shapes import read_shapes
from lastgood.drivers.mariadb.values import alike
from lastgood.sql.changes import Transaction
from tests.drivers.mariadb.conftest import Lab

TYPES = {
    "tinyint": (-128, 127, 0),
    "tinyint unsigned": (255,),
    "smallint": (-32768, 32767),
    "mediumint": (-8388608, 8388607),
    "mediumint unsigned": (16777215,),
    "int(8) zerofill": (7,),
    "bigint unsigned": (18446744073709551615,),
    "bigint": (-9223372036854775808,),
    "decimal(30,10)": ("-12345678901234567890.0123456789", "0", "-0.0000000001", "1"),
    "decimal(5,0)": (99999, -1),
    "decimal(9,9)": ("0.123456789",),
    "float": (1.1, -3.4e38, 0),
    "double": (1e100, 1 / 3, 5e-324),
    "bit(1)": (1,),
    "bit(64)": (18446744073709551615,),
    "year": (1901, 2155, 0),
    "date": ("0000-00-00", "9999-12-31", "2024-02-29"),
    "time": ("-838:59:59", "00:00:00", "12:00:01"),
    "time(3)": ("-00:00:00.001", "-01:00:00.500", "838:59:59.999"),
    "time(6)": ("-12:34:56.000001",),
    "datetime": ("0000-00-00 00:00:00", "1000-01-01 00:00:00", "2024-02-29 23:59:59"),
    "datetime(5)": ("9999-12-31 23:59:59.99999",),
    "timestamp NULL": ("1970-01-01 00:00:01", "2038-01-19 03:14:07", "0000-00-00 00:00:00"),
    "timestamp(6) NULL": ("2024-02-29 12:34:56.000001",),
    "char(10)": ("a  ", "", "ü€😀"),
    "char(250)": ("x" * 250,),
    "varchar(10)": (" a ", "ü€😀"),
    "varchar(3000)": ("ü" * 3000,),
    "varchar(20) CHARACTER SET latin1": ("ü€\x81",),
    "varchar(20) CHARACTER SET utf16": ("ü😀",),
    "varchar(20) CHARACTER SET gbk": ("订单",),
    "varchar(20) CHARACTER SET sjis": ("注文",),
    "tinytext": ("",),
    "longtext": ("line\n\ttab\\'\"\0",),
    "binary(8)": (b"a\0", b"\0"),
    "varbinary(300)": (b"\0\xff\0",),
    "blob": (b"", bytes(range(256))),
    "enum('a','ü,b','')": ("a", "ü,b", ""),
    "set('a','b','ü')": ("a,ü", "", "b"),
    "json": ('{"a": [1, "ü"]}',),
    "uuid": ("123e4567-e89b-12d3-a456-426655440000",),
    "inet6": ("2001:db8::1",),
    "inet4": ("10.0.0.1",),
}


def test_every_type_is_read_as_it_is_printed(lab: Lab) -> None:
    rows = max(map(len, TYPES.values()))
    columns = ", ".join(f"`c{n} %s` {kind}" for n, kind in enumerate(TYPES))
    with contextlib.closing(lab.session()) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute(f"CREATE TABLE t (id int PRIMARY KEY, p point, {columns})")
        before = changes.now(connection)
        cursor.execute("INSERT INTO t (id, p) SELECT seq, POINT(seq, 2) FROM seq_0_to_4")
        for n, values in enumerate(TYPES.values()):
            for row, value in enumerate(values):
                cursor.execute(f"UPDATE t SET `c{n} %%s` = %s WHERE id = %s", (value, row))
        cursor.execute("UPDATE t SET id = id + 100")
        shape = read_shapes(connection, lab.name).tables["t"]
        texts = ", ".join(c.text.replace("%%", "%") for c in shape.columns.values())
        cursor.execute(f"SELECT {texts} FROM t ORDER BY id")
        printed = [
            {c.name: c.read(v) for c, v in zip(shape.columns.values(), row, strict=True)}
            for row in cursor.fetchall()
        ]
        parser = Parser(lab.name, changes.charsets(connection))
        found = list(changes.read(lab.session, parser, before, changes.now(connection)))
        last = found[-1]
        assert isinstance(last, Transaction)
        assert rows < len(printed)
        assert [change.new for change in last.changes] == printed
        # Written back as it was read, it is the same again.
        names = ", ".join(f"`{c.replace('%', '%%')}`" for c in shape.columns)
        places = ", ".join(["%s"] * len(shape.columns))
        cursor.execute("DELETE FROM t")
        for change in last.changes:
            given = [shape.columns[c].given(v) for c, v in change.new.items()]
            cursor.execute(f"INSERT INTO t ({names}) VALUES ({places})", given)
        cursor.execute(f"SELECT {texts} FROM t ORDER BY id")
        assert [
            {c.name: c.read(v) for c, v in zip(shape.columns.values(), row, strict=True)}
            for row in cursor.fetchall()
        ] == printed


def test_values_of_types_that_differ_in_how_they_are_written() -> None:
    assert alike("10.00", "10.0000")
    assert alike("2026-01-01 00:00:00", "2026-01-01 00:00:00.000")
    assert alike(None, None)
    assert not alike("1.23", "1.2345")
    assert not alike("a", None)
