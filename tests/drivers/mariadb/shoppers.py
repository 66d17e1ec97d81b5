"""Writers on MariaDB that remember every write which was acknowledged.

Each row has a ``uid`` that nobody changes; each value is written once in the whole world. So whatever order
things happened in, a value is where it belongs, listed as a conflict, or lost.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pymysql

from lastgood.drivers.mariadb.connection import quoted
from lastgood.drivers.mariadb.failures import lost
from lastgood.drivers.mariadb.shapes import Column, escaped, read_shapes
from tests.drivers.mariadb.conftest import Lab
from tests.drivers.postgresql.shoppers import Outcome, Row, Table

KINDS: Mapping[str, Callable[[int], Any]] = {
    "text": lambda n: f"v{n} 'quoted' \\ \t ü😀",
    "varchar(30) CHARACTER SET latin1": lambda n: f"ü{n}€",
    "char(12)": lambda n: f"c{n}",
    "int unsigned": lambda n: n + (1 << 31),
    "decimal(20,2)": lambda n: f"-{n}.50",
    "double": lambda n: n / 7,
    "float": lambda n: n + 0.5,
    "datetime(3)": lambda n: f"2026-01-{1 + n % 28:02} 01:02:03.{n % 1000:03}",
    "bit(40)": lambda n: n,
    "json": lambda n: json.dumps({"n": n, "s": "\\"}),
    "varbinary(20)": lambda n: f"\0{n}".encode(),
    "uuid": lambda n: f"00000000-0000-1000-8000-{n:012}",
    "inet6": lambda n: f"2001:db8::{n:x}",
}
UNIQUE = tuple(kind for kind in KINDS if kind != "datetime(3)")


class Shopper(threading.Thread):
    """Works on rows of its own, ``allowed`` acts, until ``over`` is set."""

    numbers = iter(range(1000, 1 << 20))
    lock = threading.Lock()

    def __init__(self, lab: Lab, number: int, tables: list[Table], rows: list[Row], seed: int) -> None:
        super().__init__(daemon=True)
        self.lab, self.number, self.tables, self.rows = lab, number, tables, rows
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.acts = 0
        self.allowed = 20

    def run(self) -> None:
        with contextlib.closing(self.lab.session()) as connection:
            while not self.over.is_set():
                if self.acts < self.allowed:
                    self._act(connection)
                    self.acts += 1
                    # They run in this very process: not faster than all of it can be carried over.
                    self.over.wait(0.01)
                else:
                    self.over.wait(0.005)

    def _act(self, connection: Any) -> None:
        there = [r for r in self.rows if not r.gone]
        choice = self.random.random()
        if choice < 0.35 or not there:
            self.insert(connection)
        elif choice < 0.9:
            self._update(connection, self.random.choice(there))
        else:
            self._remove(connection, self.random.choice(there))

    def insert(self, connection: Any) -> None:
        """A row of a table, with what it needs, in one transaction."""
        made = []
        with self.lock:
            number = next(self.numbers)
        for table in self.tables:
            row = Row(table.name, f"{table.name}-{self.number}-{number}", number)
            row.acknowledged = {c: self._value(kind) for c, kind in table.columns.items()}
            made.append(row)

        def work(cursor: Any) -> None:
            for table, row in zip(self.tables, made, strict=True):
                values = {"id": row.key, "uid": row.uid, **row.acknowledged}
                if table.parent:
                    values["parent"] = row.key
                names = ", ".join(escaped(c) for c in values)
                places = ", ".join(["%s"] * len(values))
                cursor.execute(
                    f"INSERT INTO {escaped(table.name)} ({names}) VALUES ({places})", list(values.values())
                )

        if self._transaction(connection, work):
            self.rows += made

    def _update(self, connection: Any, row: Row) -> None:
        table = next(t for t in self.tables if t.name == row.table)
        columns = self.random.sample(sorted(table.columns), self.random.randint(1, len(table.columns)))
        new = {c: self._value(table.columns[c]) for c in columns}
        assignments = ", ".join(f"{escaped(c)} = %s" for c in columns)
        found = []

        def work(cursor: Any) -> None:
            statement = f"UPDATE {escaped(row.table)} SET {assignments} WHERE uid = %s"
            found.append(cursor.execute(statement, [*new.values(), row.uid]))

        if self._transaction(connection, work) and found[-1]:
            row.acknowledged |= new

    def _remove(self, connection: Any, row: Row) -> None:
        """With the rows that refer to it: some by the server's own cascade."""
        names = [t.name for t in self.tables]
        with_it = [
            r for r in self.rows if r.key == row.key and names.index(r.table) >= names.index(row.table)
        ]
        found: list[Row] = []

        def work(cursor: Any) -> None:
            found.clear()
            for other in reversed(with_it):
                if cursor.execute(f"DELETE FROM {escaped(other.table)} WHERE uid = %s", (other.uid,)):
                    found.append(other)

        if self._transaction(connection, work):
            for other in found:
                other.gone = True
            if found:
                # What a migration had deleted before goes from the copy as well if the foreign key cascades.
                first = min(names.index(r.table) for r in found)
                for other in with_it:
                    other.doubtfully_gone |= not other.gone and names.index(other.table) > first

    def _transaction(self, connection: Any, work: Callable[[Any], None]) -> bool:
        """Whether it was acknowledged; what is refused is rolled back."""
        try:
            with connection.cursor() as cursor:
                cursor.execute("START TRANSACTION")
                work(cursor)
                cursor.execute("COMMIT")
            return True
        except pymysql.Error as error:
            if lost(error):
                # No session is ended by a restore.
                raise
            connection.rollback()
            return False

    def _value(self, kind: str) -> Any:
        with self.lock:
            return KINDS[kind](next(self.numbers))


def read_outcome(lab: Lab, tables: list[Table]) -> Outcome:
    """The restored database, in the texts that a restore uses, and what is listed."""
    found: dict[str, dict[str, dict[str, str | None]]] = {}
    with contextlib.closing(lab.session()) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        shapes = read_shapes(connection, lab.name)
        for table in tables:
            found[table.name] = {}
            columns = [shapes.tables[table.name].columns[c] for c in ("id", *table.columns)]
            texts = ", ".join(c.text.replace("%%", "%") for c in columns)
            cursor.execute(f"SELECT uid, {texts} FROM {quoted(table.name)}")
            for uid, *values in cursor.fetchall():
                assert uid not in found[table.name], f"{uid} is there twice"
                found[table.name][uid] = {
                    c.name: c.read(v) for c, v in zip(columns, values, strict=True)
                }  # fmt: skip
        cursor.execute("SHOW TABLES LIKE 'lastgood\\_conflicts'")
        listed: list[tuple[str, str, str | None]] = []
        if cursor.fetchall():
            cursor.execute("SELECT `table`, `column`, shop FROM lastgood_conflicts")
            listed = list(cursor.fetchall())
    return Outcome(found, listed)


class Texts:
    """A value as a restore reads it back from a column of a type."""

    def __init__(self, lab: Lab, tables: list[Table]) -> None:
        self._connection = lab.session()
        self._known: dict[tuple[str, str], str] = {}
        self._kinds = {f"{t.name}.{c}": kind for t in tables for c, kind in t.columns.items()}
        with self._connection.cursor() as cursor:
            columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(KINDS))
            cursor.execute(f"CREATE TEMPORARY TABLE texts ({columns}, n int)")

    def __call__(self, place: str, value: Any) -> str:
        kind = self._kinds[place]
        known = self._known.get((kind, repr(value)))
        if known is None:
            known = self._known[kind, repr(value)] = self._ask(kind, value)
        return known

    def _ask(self, kind: str, value: Any) -> str:
        column = f"c{list(KINDS).index(kind)}"
        base = kind.split("(")[0].split()[0]
        if base == "json":
            base = "longtext"
        about = Column(column, base, kind, False, False, False, None, "")
        with self._connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO texts ({column}, n) VALUES (%s, 1)", (value,))
            cursor.execute(f"SELECT {about.text} FROM texts")
            ((found,),) = cursor.fetchall()
            cursor.execute("DELETE FROM texts")
        return str(about.read(found))
