"""What the binary log holds of one database, as transactions of changed rows, read without consuming it.

A transaction is lastgood's own when it writes a row of our own tables: a migration writes its progress in
the same transaction as its rows. DDL commits by itself: it is ours when its session is one that the log has
shown to be ours.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.drivers.mariadb import binlog
from lastgood.drivers.mariadb.binlog import Event, Position
from lastgood.drivers.mariadb.tablemap import Reader, TableMap, parse
from lastgood.relational.changes import Change, Kind, Relation, Row, Transaction

OURS = "lastgood_"
"""Tables of ours begin so."""

STANDALONE, DDL = 1, 32


class Incomplete(Exception):
    """The log does not tell everything that was written; the text says what."""


@dataclass(frozen=True)
class Statement:
    """One that was logged as text: DDL of the session ``thread``. ``end`` is behind it."""

    text: str
    schema: str
    thread: int
    end: str
    seconds: float


@dataclass
class _Table:
    """A described table, as its rows are read: ``plan`` is a column and its decoder each."""

    relation: Relation
    plan: tuple[tuple[str, Callable[[bytes, int], tuple[str, int]]], ...]
    unreadable: str


@dataclass
class Parser:
    """Makes transactions of events fed in order; those of other databases than ``schema`` are passed by.

    ``charsets``: names of character sets by the id of a collation.
    """

    schema: str
    charsets: Mapping[int, str]
    _tables: dict[int, _Table | None] = field(default_factory=dict)
    _known: dict[bytes, _Table | None] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _changes: list[Change] = field(default_factory=list)
    _own: bool = False
    _open: bool = False
    _sequence: int = 0
    _seconds: int = 0

    def feed(self, event: Event) -> Transaction | Statement | None:
        """What ends with ``event``. Raises Incomplete."""
        kind = event.kind
        if kind == binlog.TABLE_MAP:
            self._describe(event.body)
        elif kind in (binlog.WRITE, binlog.UPDATE, binlog.DELETE):
            self._rows(kind, event.body)
        elif kind == binlog.GTID:
            self._begin(event)
        elif kind == binlog.XID:
            return self._commit(event)
        elif kind == binlog.QUERY:
            return self._query(event)
        elif kind == binlog.XA_PREPARE:
            if self._changes:
                raise Incomplete("XA transactions wrote to the database")
            self._drop()
        elif kind in binlog.COMPRESSED:
            raise Incomplete("log_bin_compress is on")
        return None

    def _begin(self, event: Event) -> None:
        self._drop()
        self._sequence = int.from_bytes(event.body[:8], "little")
        self._open = not event.body[12] & STANDALONE
        self._seconds = event.seconds

    def _drop(self) -> None:
        self._changes, self._own, self._open = [], False, False
        self._tables.clear()

    def _commit(self, event: Event) -> Transaction:
        done = Transaction(
            self._sequence, str(event.end), float(event.seconds), tuple(self._changes), self._own
        )
        self._drop()
        return done

    def _query(self, event: Event) -> Transaction | Statement | None:
        thread, _, length, _, variables = struct.unpack_from("<IIBHH", event.body)
        begin = 13 + variables
        schema = event.body[begin : begin + length].decode("utf-8", "surrogateescape")
        text = event.body[begin + length + 1 :].decode("utf-8", "surrogateescape")
        word = text[:12].upper()
        if word.startswith("COMMIT"):
            return self._commit(event)
        if word.startswith("ROLLBACK"):
            if self._changes:
                raise Incomplete("a transaction was rolled back in parts")
            self._drop()
            return None
        if word.startswith(("BEGIN", "SAVEPOINT", "XA ")):
            return None
        return Statement(text, schema, thread, str(event.end), float(event.seconds))

    def _describe(self, body: bytes) -> None:
        number = int.from_bytes(body[:6], "little")
        about = body[6:]
        if about not in self._known:
            self._known[about] = self._table(parse(body, self.charsets)[1])
        self._tables[number] = self._known[about]

    def _table(self, found: TableMap) -> _Table | None:
        if found.schema != self.schema:
            return None
        number = self._numbers.setdefault(found.name, len(self._numbers) + 1)
        columns = tuple(name for name, _ in found.columns)
        relation = Relation(found.schema, found.name, columns, found.key, number)
        return _Table(relation, found.columns, found.unreadable)

    def _rows(self, kind: int, body: bytes) -> None:
        reader = Reader(body)
        table = self._tables.get(reader.number(6))
        if table is None:
            return
        if table.relation.name.startswith(OURS):
            self._own = True
            return
        if table.unreadable:
            raise Incomplete(f"rows of {table.relation.name} can't be read: {table.unreadable}")
        reader.take(2)
        width = reader.packed()
        plans = [_present(table, reader.take((width + 7) // 8))]
        if kind == binlog.UPDATE:
            plans.append(_present(table, reader.take((width + 7) // 8)))
        at, end = reader.at, len(body)
        while at < end:
            first, at = _row(plans[0], body, at)
            second: Row = {}
            if kind == binlog.UPDATE:
                second, at = _row(plans[1], body, at)
            self._changes.append(_change(kind, table.relation, first, second))


def _present(table: _Table, bitmap: bytes) -> list[tuple[str, Callable[[bytes, int], tuple[str, int]]]]:
    return [part for n, part in enumerate(table.plan) if bitmap[n // 8] >> n % 8 & 1]


def _row(plan: Any, body: bytes, at: int) -> tuple[dict[str, str | None], int]:
    # Most of the time of a salvage is spent here.
    nulls = int.from_bytes(body[at : at + (len(plan) + 7) // 8], "little")
    at += (len(plan) + 7) // 8
    found: dict[str, str | None] = {}
    for column, decode in plan:
        if nulls & 1:
            found[column] = None
        else:
            found[column], at = decode(body, at)
        nulls >>= 1
    return found, at


def _change(kind: int, relation: Relation, first: Row, second: Row) -> Change:
    if kind == binlog.WRITE:
        return Change(Kind.INSERT, relation, new=first)
    old = {column: first[column] for column in relation.key}
    if kind == binlog.DELETE:
        return Change(Kind.DELETE, relation, old, before=first)
    if all(second[column] == value for column, value in old.items()):
        old = {}
    return Change(Kind.UPDATE, relation, old, second, first)


def read(
    connect: Callable[[], Any], parser: Parser, after: Position, up_to: Position
) -> Iterator[Transaction | Statement]:
    """In order of commit; transactions that changed nothing here are left out. Raises pymysql.Error and
    Incomplete.
    """
    for event in binlog.read(connect, after, up_to):
        found = parser.feed(event)
        if isinstance(found, Statement) or (found is not None and (found.changes or found.own)):
            yield found
