"""Writers that remember every write which was acknowledged, and what must be true of a restore afterwards.

Each row has a ``uid`` that nobody changes; each value is written once in the whole world. So whatever order
things happened in, a value is where it belongs, listed as a conflict, or lost.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from lastgood.drivers.postgresql.failures import lost
from tests.drivers.postgresql.conftest import Lab

Value = Callable[[int], Any]

KINDS: Mapping[str, Value] = {
    "text": lambda n: f"v{n} 'quoted' \\ \t ü",
    "varchar(30)": lambda n: f"v{n}",
    "char(12)": lambda n: f"c{n}",
    "int": lambda n: n,
    "numeric(12,2)": lambda n: f"{n}.5",
    "float8": lambda n: n / 7,
    "timestamptz": lambda n: f"2026-01-01 00:00:00+00:{n % 60:02}",
    "boolean[]": lambda n: [bool(n >> bit & 1) for bit in range(20)],
    "jsonb": lambda n: json.dumps({"n": n, "s": "\\"}),
    "bytea": lambda n: f"{n}".encode(),
    "inet": lambda n: f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}",
    "int4range": lambda n: f"[{n},{n + 1})",
}
UNIQUE = tuple(kind for kind in KINDS if kind != "timestamptz")


@dataclass
class Row:
    """What one writer knows of a row: the value last acknowledged by column, and those perhaps written."""

    table: str
    uid: str
    key: int
    acknowledged: dict[str, Any] = field(default_factory=dict)
    doubtful: dict[str, list[Any]] = field(default_factory=dict)
    gone: bool = False
    doubtfully_gone: bool = False
    doubtfully_there: bool = False


@dataclass
class Table:
    """``columns`` by type; a table with a ``parent`` has rows only together with one of that."""

    name: str
    columns: Mapping[str, str]
    parent: str = ""


class Shopper(threading.Thread):
    """Works on rows of its own, ``allowed`` acts, until the database closes or ``over`` is set."""

    numbers = iter(range(1000, 1 << 20))
    lock = threading.Lock()

    def __init__(self, lab: Lab, number: int, tables: list[Table], rows: list[Row], seed: int) -> None:
        super().__init__(daemon=True)
        self.lab, self.number, self.tables, self.rows = lab, number, tables, rows
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.acts = 0
        self.allowed = 30

    def run(self) -> None:
        try:
            with self.lab.session() as connection:
                while not self.over.is_set():
                    if self.acts < self.allowed:
                        self._act(connection)
                        self.acts += 1
                    else:
                        self.over.wait(0.005)
        except psycopg.OperationalError:
            return

    def _act(self, connection: psycopg.Connection[Any]) -> None:
        there = [r for r in self.rows if not r.gone]
        choice = self.random.random()
        if choice < 0.35 or not there:
            self.insert(connection)
        elif choice < 0.9:
            self._update(connection, self.random.choice(there))
        else:
            self._remove(connection, self.random.choice(there))

    def _value(self, kind: str) -> Any:
        with self.lock:
            return KINDS[kind](next(self.numbers))

    def insert(self, connection: psycopg.Connection[Any]) -> None:
        """A row of a table, with what it needs, in one transaction."""
        made = []
        with self.lock:
            number = next(self.numbers)
        for table in self.tables:
            uid = f"{table.name}-{self.number}-{number}"
            row = Row(table.name, uid, number)
            row.acknowledged = {c: self._value(kind) for c, kind in table.columns.items()}
            made.append(row)
        try:
            with connection.transaction():
                for table, row in zip(self.tables, made, strict=True):
                    names = ["id", "uid", *(["parent"] if table.parent else []), *row.acknowledged]
                    values = [
                        row.key,
                        row.uid,
                        *([row.key] if table.parent else []),
                        *row.acknowledged.values(),
                    ]
                    connection.execute(
                        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
                            sql.Identifier(table.name),
                            sql.SQL(", ").join(map(sql.Identifier, names)),
                            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
                        ),
                        values,
                    )
        except psycopg.Error as error:
            if not lost(error):
                return
            for row in made:
                row.doubtfully_there = True
            self.rows += made
            raise
        self.rows += made

    def _update(self, connection: psycopg.Connection[Any], row: Row) -> None:
        table = next(t for t in self.tables if t.name == row.table)
        columns = self.random.sample(sorted(table.columns), self.random.randint(1, len(table.columns)))
        new = {c: self._value(table.columns[c]) for c in columns}
        statement = sql.SQL("UPDATE {} SET {} WHERE uid = {}").format(
            sql.Identifier(row.table),
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(c)) for c in columns),
            sql.Literal(row.uid),
        )
        try:
            found = connection.execute(statement, list(new.values())).rowcount
        except psycopg.Error as error:
            if not lost(error):
                return
            for column, value in new.items():
                row.doubtful.setdefault(column, []).append(value)
            raise
        if found:
            row.acknowledged |= new

    def _remove(self, connection: psycopg.Connection[Any], row: Row) -> None:
        """With the rows that refer to it."""
        names = [t.name for t in self.tables]
        with_it = [
            r for r in self.rows if r.key == row.key and names.index(r.table) >= names.index(row.table)
        ]
        statement = sql.SQL("DELETE FROM {} WHERE uid = {} RETURNING id")
        found: list[Row] = []
        try:
            with connection.transaction():
                for other in reversed(with_it):
                    question = statement.format(sql.Identifier(other.table), sql.Literal(other.uid))
                    if connection.execute(question).fetchall():
                        found.append(other)
        except psycopg.Error as error:
            if not lost(error):
                return
            for other in with_it:
                other.doubtfully_gone = True
            raise
        for other in found:
            other.gone = True


@dataclass
class Outcome:
    """The restored database, read as the server writes values, and what is listed."""

    rows: Mapping[str, Mapping[str, Mapping[str, str | None]]]
    listed: list[tuple[str, str, str | None]]

    @classmethod
    def read(cls, lab: Lab, tables: list[Table], name: str = "") -> Outcome:
        rows: dict[str, dict[str, dict[str, str | None]]] = {}
        with lab.session(name) as connection:
            connection.execute("SET timezone = 'UTC'; SET extra_float_digits = 1")
            for table in tables:
                rows[table.name] = {}
                columns = ["id", *table.columns]
                question = sql.SQL("SELECT uid, {} FROM {}").format(
                    sql.SQL(", ").join(
                        sql.SQL("CASE WHEN {0} IS NOT NULL THEN concat({0}) END").format(sql.Identifier(c))
                        for c in columns
                    ),
                    sql.Identifier(table.name),
                )
                for uid, *values in connection.execute(question):
                    assert uid not in rows[table.name], f"{uid} is there twice"
                    rows[table.name][uid] = dict(zip(columns, values, strict=True))
            listed = []
            if connection.execute("SELECT to_regclass('lastgood.conflicts')").fetchone() != (None,):
                listed = connection.execute(
                    'SELECT "table", "column", shop FROM lastgood.conflicts'
                ).fetchall()
        return cls(rows, listed)

    def lists(self, table: str, column: str, uid: str, value: str | None) -> bool:
        """The value is listed by itself, or with the whole row."""
        for where, what, shop in self.listed:
            if where == table and what == column and shop == value:
                return True
            if where == table and what == "" and shop is not None:
                row = json.loads(shop)
                if row.get("uid") == uid and row.get(column) == value:
                    return True
        return False

    def lists_row(self, row: Row) -> bool:
        return any(
            where == row.table and what == "" and f'"{row.uid}"' in (shop or "")
            for where, what, shop in self.listed
        )


def wrong(outcome: Outcome, rows: list[Row], text: Callable[[str, Any], str]) -> Iterator[str]:
    """What was acknowledged and is neither there nor listed; ``text``: a value as the server has it."""
    for row in rows:
        there = outcome.rows[row.table].get(row.uid)
        if row.gone:
            if there is not None and not any(w == row.table and c == "" for w, c, _ in outcome.listed):
                yield f"{row.uid} was deleted and is there"
            continue
        if there is None:
            if not (row.doubtfully_gone or row.doubtfully_there or outcome.lists_row(row)):
                yield f"{row.uid} is not there and not listed"
            continue
        for column, value in row.acknowledged.items():
            allowed = [value, *row.doubtful.get(column, [])]
            held = there.get(column)
            if not any(
                text(f"{row.table}.{column}", v) == held
                or outcome.lists(row.table, column, row.uid, text(f"{row.table}.{column}", v))
                for v in allowed
            ):
                yield f"{row.uid}: {column} is {held!r}, not {allowed!r}, and not listed"
