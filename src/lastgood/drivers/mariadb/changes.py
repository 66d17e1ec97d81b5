"""What the binary log holds of one database, as transactions of changed rows, read without consuming it.

A transaction is lastgood's own when it writes a row of our own tables: a migration writes its progress in
the same transaction as its rows. A definition commits by itself, and is logged as its text: ``MARK`` in front
says that it is ours.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastgood.drivers.mariadb import binlog, statements
from lastgood.drivers.mariadb.binlog import Event, Position
from lastgood.drivers.mariadb.connection import Connection, rows
from lastgood.drivers.mariadb.statements import Effect, Places
from lastgood.drivers.mariadb.tablemap import Reader, TableMap, parse
from lastgood.drivers.mariadb.values import Decoder, Unreadable
from lastgood.sql.changes import Change, Kind, Relation, Row, Transaction

OURS = "lastgood_"
"""Tables of ours begin so."""

MARK = "/* lastgood */ "
"""Begins every definition that a migration sends."""

PROGRESS = f"{OURS}progress"
_SENT = "sent"
"""The table in which a migration notes what it is about to send, and the column of it."""

NEXT = "next_not_cached_value"
"""Of a sequence's only row."""

STANDALONE = 1
UNCHECKED = 0x02
"""Flag of a row event: the session had ``foreign_key_checks = 0``; below, the same of a statement's."""
_Plan = tuple[tuple[str, Decoder], ...]
_UNREADABLE = (Unreadable, LookupError, ValueError, OverflowError, struct.error)
"""What values and descriptions raise that are not as they should be; of texts it is a ValueError."""
_UNCHECKED_STATEMENT = 1 << 26
_FLAGS = b"\0"
Incomplete = statements.Incomplete
"""The log does not tell everything that was written; the text says what."""


@dataclass(frozen=True)
class Renamed:
    """Tables have other names from ``end`` on: the one before and the one then, one after the other."""

    pairs: tuple[tuple[str, str], ...]
    end: str


@dataclass
class _Table:
    """A described table, as its rows are read: ``plan`` is a column and its decoder each."""

    relation: Relation
    plan: _Plan
    unreadable: str


@dataclass
class Parser:
    """Makes transactions of events fed in order; those of other databases than ``schema`` are passed by.

    ``charsets``: names of character sets by the id of a collation. ``sequences`` are told apart from tables;
    ``advanced`` is how far each has come: the next number that was not set aside. ``places`` is what is there
    where reading begins, and then where it has come to.
    """

    schema: str
    charsets: Mapping[int, str]
    sequences: frozenset[str] = frozenset()
    advanced: dict[str, int] = field(default_factory=dict)
    places: Places = field(default_factory=Places)
    _tables: dict[int, _Table | None] = field(default_factory=dict)
    _known: dict[bytes, _Table | None] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _changes: list[Change] = field(default_factory=list)
    _own: bool = False
    _sent: str = ""
    _open: bool = False
    _sequence: int = 0
    _seconds: int = 0

    @property
    def holds(self) -> bool:
        """What comes next may be known by what came last only: this is no place to begin again."""
        if not self._sent:
            return False
        try:
            sent = statements.effect(self._sent, self.schema, self.schema)
        except Incomplete:
            return False
        return bool(sent.emptied or sent.made)

    def feed(self, event: Event) -> Transaction | Renamed | None:
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
        elif kind in (binlog.QUERY, binlog.LOAD):
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

    def _query(self, event: Event) -> Transaction | Renamed | None:
        _, _, length, _, variables = struct.unpack_from("<IIBHH", event.body)
        # The file that was loaded comes in between.
        fixed = 13 if event.kind == binlog.QUERY else 26
        begin = fixed + variables
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
        return self._defined(text, schema, event, _unchecked(event.body[fixed:begin]))

    def _defined(
        self, text: str, schema: str, event: Event, unchecked: bool | None
    ) -> Transaction | Renamed | None:
        """By a statement; in a transaction that is open it makes the table that is then filled."""
        done = statements.effect(text, schema, self.schema)
        own = text.startswith(MARK) or self._is_sent(done, schema)
        if self._open:
            self._own |= own
        if done.untold and not own:
            raise Incomplete(done.untold)
        if done.renamed:
            pairs = self.places.rename(done.renamed)
            return Renamed(pairs, str(event.end)) if pairs else None
        emptied = [name for name in done.emptied if name not in self.places.absent]
        apart = self.places.replaced & set(emptied)
        for name in done.emptied if done.dropped else ():
            self.places.drop(name, own=own)
        if done.made:
            if own and done.made in emptied:
                self.places.replaced.add(done.made)
            self.places.seen(done.made)
        if not emptied:
            return None
        if unchecked is None:
            names = ", ".join(emptied)
            raise Incomplete(f"{names} was emptied, and it is not known whether its foreign keys acted")
        gone = [
            self._emptied(name, unchecked, apart=name in apart)
            for name in emptied
            if not name.startswith(OURS)
        ]
        if self._open:
            self._changes += gone
            return None
        return Transaction(self._sequence, str(event.end), float(event.seconds), tuple(gone), own)

    def _is_sent(self, done: Effect, schema: str) -> bool:
        """Of some definitions the server logs words of its own, without ``MARK``: by the row that a migration
        writes before it sends one it is known.
        """
        if not self._sent:
            return False
        try:
            return statements.effect(self._sent, schema, self.schema).like(done)
        except Incomplete:
            return False

    def _emptied(self, name: str, unchecked: bool, *, apart: bool) -> Change:
        relation = Relation(self.schema, name, (), (), self.number(name))
        return Change(Kind.TRUNCATE, relation, unchecked=unchecked, apart=apart)

    def _describe(self, body: bytes) -> None:
        number = int.from_bytes(body[:6], "little")
        about = body[6:]
        if about not in self._known:
            try:
                self._known[about] = self._table(parse(body, self.charsets)[1])
            except _UNREADABLE as error:
                reader = Reader(about[2:])
                schema, name = reader.text(), reader.text()
                if schema == self.schema:
                    raise Incomplete(f"rows of {name} can't be read: {error}") from None
                self._known[about] = None
        self._tables[number] = self._known[about]

    def _table(self, found: TableMap) -> _Table | None:
        if found.schema != self.schema:
            return None
        columns = tuple(name for name, _ in found.columns)
        relation = Relation(found.schema, found.name, columns, found.key or columns, self.number(found.name))
        return _Table(relation, found.columns, found.unreadable)

    def number(self, name: str) -> int:
        """That of the table in ``Relation.oid``."""
        return self._numbers.setdefault(name, len(self._numbers) + 1)

    def _rows(self, kind: int, body: bytes) -> None:
        reader = Reader(body)
        table = self._tables.get(reader.number(6))
        if table is None:
            return
        if table.relation.name.startswith(OURS):
            self._own = True
            if table.relation.name == PROGRESS:
                self._note_sent(kind, table, reader)
            return
        self.places.seen(table.relation.name)
        with _readable(table):
            self._read_rows(kind, table, reader)

    def _read_rows(self, kind: int, table: _Table, reader: Reader) -> None:
        unchecked = bool(reader.number(2) & UNCHECKED)
        plans = _plans(kind, table, reader)
        body, at, end = reader.content, reader.at, len(reader.content)
        if table.relation.name in self.sequences:
            self._advance(table.relation.name, _row(plans[0], body, at)[0])
            return
        while at < end:
            first, at = _row(plans[0], body, at)
            second: Row = {}
            if kind == binlog.UPDATE:
                second, at = _row(plans[1], body, at)
            self._changes.append(_change(kind, table.relation, first, second, unchecked))
        if at > end:
            raise Unreadable("a row is longer than its event")

    def _note_sent(self, kind: int, table: _Table, reader: Reader) -> None:
        row: Row = {}
        with _readable(table):
            reader.take(2)
            plans = _plans(kind, table, reader)
            at = reader.at
            for plan in plans:
                row, at = _row(plan, reader.content, at)
        self._sent = "" if kind == binlog.DELETE else row.get(_SENT) or ""

    def _advance(self, name: str, row: Row) -> None:
        number = int(row.get(NEXT) or 0)
        self.advanced[name] = max(number, self.advanced.get(name, number))


@contextlib.contextmanager
def _readable(table: _Table) -> Iterator[None]:
    """Raises Incomplete where the rows of ``table`` can't be read."""
    reason = table.unreadable
    if not reason:
        try:
            yield
            return
        except _UNREADABLE as error:
            reason = str(error)
    raise Incomplete(f"rows of {table.relation.name} can't be read: {reason}")


def _plans(kind: int, table: _Table, reader: Reader) -> list[_Plan]:
    """Of the row before, if there is one, and the row after. Raises Unreadable unless they are whole."""
    width = reader.packed()
    for _ in range(1 + (kind == binlog.UPDATE)):
        there = int.from_bytes(reader.take((width + 7) // 8), "little") & (1 << width) - 1
        if width != len(table.plan) or there != (1 << width) - 1:
            raise Unreadable("a session logged them in parts, by its binlog_row_image")
    return [table.plan] * (1 + (kind == binlog.UPDATE))


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


def _change(kind: int, relation: Relation, first: Row, second: Row, unchecked: bool) -> Change:
    if kind == binlog.WRITE:
        return Change(Kind.INSERT, relation, new=first, unchecked=unchecked)
    old = {column: first.get(column) for column in relation.key}
    if kind == binlog.DELETE:
        return Change(Kind.DELETE, relation, old, before=first, unchecked=unchecked)
    if all(second.get(column) == value for column, value in old.items()):
        old = {}
    return Change(Kind.UPDATE, relation, old, second, first, unchecked)


def _unchecked(variables: bytes) -> bool | None:
    """Of a statement, by its status variables; None: they do not tell. The flags are the first of them."""
    if variables[:1] != _FLAGS or len(variables) < 5:
        return None
    return bool(int.from_bytes(variables[1:5], "little") & _UNCHECKED_STATEMENT)


def read(
    connect: Callable[[], Any], parser: Parser, after: Position, up_to: Position
) -> Iterator[Transaction | Renamed]:
    """In order of commit; transactions that changed nothing here are left out. Raises pymysql.Error and
    Incomplete.
    """
    try:
        yield from _read(connect, parser, after, up_to)
    except binlog.EndedEarly as error:
        raise Incomplete(str(error)) from None


def _read(
    connect: Callable[[], Any], parser: Parser, after: Position, up_to: Position
) -> Iterator[Transaction | Renamed]:
    for event in binlog.read(connect, after, up_to):
        found = parser.feed(event)
        if isinstance(found, Renamed) or (found is not None and found.changes):
            yield found


def now(connection: Connection) -> Position:
    """Behind everything that was acknowledged before. Raises pymysql.Error."""
    found = rows(connection, "SHOW MASTER STATUS")
    return Position.at(str(found[0][0]), int(found[0][1]))


def sequences(connection: Connection, *schemas: str) -> frozenset[str]:
    """Names of those that are there."""
    found: set[str] = set()
    for schema in schemas:
        question = (
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = %s AND table_type = 'SEQUENCE'"
        )
        found |= {str(name) for (name,) in rows(connection, question, schema)}
    return frozenset(found)


def charsets(connection: Connection) -> dict[int, str]:
    """Names by the id of a collation."""
    found = rows(
        connection,
        "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability",
    )
    return {int(n): str(name) for n, name in found if n is not None}
