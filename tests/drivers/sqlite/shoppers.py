"""Writers on SQLite that remember every write which was acknowledged.

Each row has a ``uid`` that nobody changes; each value is written once in the whole world. So whatever order
things happened in, a value is where it belongs, listed as a conflict, or lost.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
from collections.abc import Callable, Mapping
from typing import Any

from lastgood.drivers.sqlite.connection import quoted
from lastgood.drivers.sqlite.merging import text
from tests.drivers.postgresql.shoppers import Outcome, Row, Table
from tests.drivers.sqlite.conftest import Lab

KINDS: Mapping[str, Callable[[int], Any]] = {
    "text": lambda n: f"v{n} 'quoted' \\ \t ü😀\0{n}",
    "TEXT COLLATE NOCASE": lambda n: f"{'aA'[n % 2]}{n}",
    "integer": lambda n: n + (1 << 40),
    "real": lambda n: n / 7,
    "numeric": lambda n: n + 0.25,
    "blob": lambda n: f"\0{n}".encode(),
    "": lambda n: (n, str(n), float(n) + 0.5, str(n).encode())[n % 4],
}


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
                self.over.wait(0.005)

    def _act(self, connection: sqlite3.Connection) -> None:
        there = [r for r in self.rows if not r.gone]
        choice = self.random.random()
        if choice < 0.35 or not there:
            self.insert(connection)
        elif choice < 0.8:
            self._update(connection, self.random.choice(there))
        elif choice < 0.9:
            self._replace(connection, self.random.choice(there))
        else:
            self._remove(connection, self.random.choice(there))

    def insert(self, connection: sqlite3.Connection) -> None:
        """A row of a table, with what it needs, in one transaction."""
        made = []
        with self.lock:
            number = next(self.numbers)
        for table in self.tables:
            row = Row(table.name, f"{table.name}-{self.number}-{number}", number)
            row.acknowledged = {c: self._value(kind) for c, kind in table.columns.items()}
            made.append(row)

        def work() -> None:
            for table, row in zip(self.tables, made, strict=True):
                _insert(connection, "INSERT", table, row, row.acknowledged)

        if self._transaction(connection, work):
            self.rows += made

    def _update(self, connection: sqlite3.Connection, row: Row) -> None:
        table = next(t for t in self.tables if t.name == row.table)
        columns = self.random.sample(sorted(table.columns), self.random.randint(1, len(table.columns)))
        new = {c: self._value(table.columns[c]) for c in columns}
        assignments = ", ".join(f"{quoted(c)} = ?" for c in columns)
        statement = f"UPDATE {quoted(row.table)} SET {assignments} WHERE uid = ?"
        found: list[int] = []

        def work() -> None:
            found.append(connection.execute(statement, [*new.values(), row.uid]).rowcount)

        if self._transaction(connection, work) and found[-1]:
            row.acknowledged |= new

    def _replace(self, connection: sqlite3.Connection, row: Row) -> None:
        """The whole row anew, as a sync does; the old one goes without a DELETE. Nobody refers to it."""
        table = next(t for t in self.tables if t.name == row.table)
        if any(t.parent == table.name for t in self.tables):
            return
        new = {c: self._value(kind) for c, kind in table.columns.items()}

        def work() -> None:
            _insert(connection, "INSERT OR REPLACE", table, row, new)

        if self._transaction(connection, work):
            row.acknowledged |= new

    def _remove(self, connection: sqlite3.Connection, row: Row) -> None:
        """With the rows that refer to it: some by a cascade."""
        names = [t.name for t in self.tables]
        with_it = [
            r for r in self.rows if r.key == row.key and names.index(r.table) >= names.index(row.table)
        ]
        found: list[Row] = []

        def work() -> None:
            found.clear()
            for other in reversed(with_it):
                if connection.execute(
                    f"DELETE FROM {quoted(other.table)} WHERE uid = ?", (other.uid,)
                ).rowcount:
                    found.append(other)

        if self._transaction(connection, work):
            for other in found:
                other.gone = True

    def _transaction(self, connection: sqlite3.Connection, work: Callable[[], None]) -> bool:
        """Whether it was acknowledged; what is refused is rolled back."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            work()
            connection.execute("COMMIT")
            return True
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return False

    def _value(self, kind: str) -> Any:
        with self.lock:
            return KINDS[kind](next(self.numbers))


def _insert(
    connection: sqlite3.Connection, act: str, table: Table, row: Row, given: Mapping[str, Any]
) -> None:
    values = {"id": row.key, "uid": row.uid, **given}
    if table.parent:
        values["parent"] = row.key
    names = ", ".join(quoted(c) for c in values)
    places = ", ".join(["?"] * len(values))
    connection.execute(f"{act} INTO {quoted(table.name)} ({names}) VALUES ({places})", list(values.values()))


def read_outcome(lab: Lab, tables: list[Table]) -> Outcome:
    """The restored database, in the texts of the list of conflicts, and that list."""
    found: dict[str, dict[str, dict[str, str | None]]] = {}
    with contextlib.closing(lab.session()) as connection:
        for table in tables:
            found[table.name] = {}
            columns = ["id", *table.columns]
            names = ", ".join(quoted(c) for c in columns)
            for uid, *values in connection.execute(f"SELECT uid, {names} FROM {quoted(table.name)}"):
                assert uid not in found[table.name], f"{uid} is there twice"
                found[table.name][uid] = dict(zip(columns, map(text, values), strict=True))
        there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'lastgood_conflicts'").fetchall()
        listed: list[tuple[str, str, str | None]] = []
        if there:
            listed = connection.execute('SELECT "table", "column", shop FROM lastgood_conflicts').fetchall()
    return Outcome(found, listed)


class Texts:
    """A value as it is read back from a column of a type."""

    def __init__(self, tables: list[Table]) -> None:
        self._kinds = {f"{t.name}.{c}": kind for t in tables for c, kind in t.columns.items()}
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        columns = ", ".join(f"c{n} {kind}" for n, kind in enumerate(KINDS))
        self._connection.execute(f"CREATE TABLE texts ({columns})")

    def __call__(self, place: str, value: Any) -> str:
        column = f"c{list(KINDS).index(self._kinds[place])}"
        self._connection.execute(f"INSERT INTO texts ({column}) VALUES (?)", (value,))
        ((found,),) = self._connection.execute(f"SELECT {column} FROM texts")
        self._connection.execute("DELETE FROM texts")
        return str(text(found))
