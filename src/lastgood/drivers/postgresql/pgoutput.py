"""The messages of PostgreSQL's output plugin ``pgoutput``, protocol version 1.

Source: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct

from lastgood.sql.changes import Change, Kind, Relation, Row, Transaction

MARK = "lastgood"
"""Prefix of the message by which a transaction of ours is known in the log."""

_EPOCH = 946_684_800
"""2000-01-01 in seconds since 1970-01-01: the server counts from there."""
_IDENTITY = 1
_TEXT, _NULL = b"tn"


class Parser:
    """Makes transactions of messages fed in order; knows the relations that the server described once."""

    def __init__(self) -> None:
        self._relations: dict[int, Relation] = {}
        self._begin()

    def _begin(self, xid: int = 0) -> None:
        self._xid = xid
        self._own = False
        self._changes: list[Change] = []

    def feed(self, message: bytes) -> Transaction | None:
        """The transaction that ends with ``message``. Raises ValueError at one of another protocol."""
        reader = _Reader(message)
        kind = reader.char()
        if kind in "IUD":
            self._changes.append(self._row(kind, reader))
        elif kind == "R":
            relation = _relation(reader)
            self._relations[relation.oid] = relation
        elif kind == "B":
            self._begin(reader.take(">QqI")[2])
        elif kind == "C":
            return self._commit(reader)
        elif kind == "T":
            count, _ = reader.take(">IB")
            named = [self._relations[reader.take(">I")[0]] for _ in range(count)]
            self._changes += [Change(Kind.TRUNCATE, relation) for relation in named]
        elif kind == "M":
            transactional = reader.take(">BQ")[0]
            self._own |= bool(transactional) and reader.string() == MARK
        elif kind not in "YO":
            raise ValueError(f"unknown message {kind!r} of pgoutput")
        return None

    def _commit(self, reader: _Reader) -> Transaction:
        _, _, end, microseconds = reader.take(">BQQq")
        changes = tuple(self._changes)
        done = Transaction(self._xid, position(end), _EPOCH + microseconds / 1e6, changes, self._own)
        self._begin()
        return done

    def _row(self, kind: str, reader: _Reader) -> Change:
        relation = self._relations[reader.take(">I")[0]]
        part = reader.char()
        old: Row = {}
        if part in "KO":
            values = reader.row(relation.columns)
            old = {column: values[column] for column in relation.key if column in values}
            if kind == "D":
                return Change(Kind.DELETE, relation, old)
            part = reader.char()
        new = reader.row(relation.columns)
        if kind == "I":
            return Change(Kind.INSERT, relation, new=new)
        if all(column in new and new[column] == value for column, value in old.items()):
            old = {}
        return Change(Kind.UPDATE, relation, old, new)


def position(number: int) -> str:
    """A log position as the server writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def number(written: str) -> int:
    """The other way round; positions compare as numbers only."""
    high, low = written.split("/")
    return int(high, 16) << 32 | int(low, 16)


def _relation(reader: _Reader) -> Relation:
    (oid,) = reader.take(">I")
    schema, name = reader.string(), reader.string()
    _, count = reader.take(">cH")
    columns: list[str] = []
    key: list[str] = []
    for _ in range(count):
        (flags,) = reader.take(">B")
        column = reader.string()
        reader.take(">Ii")
        columns.append(column)
        if flags & _IDENTITY:
            key.append(column)
    return Relation(schema or "pg_catalog", name, tuple(columns), tuple(key), oid)


class _Reader:
    """One message, read from its start."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = 0

    def char(self) -> str:
        self._at += 1
        return chr(self._message[self._at - 1])

    def take(self, shape: str) -> tuple[int, ...]:
        taken = struct.unpack_from(shape, self._message, self._at)
        self._at += struct.calcsize(shape)
        return taken

    def string(self) -> str:
        end = self._message.index(0, self._at)
        text = self._message[self._at : end].decode("utf-8", "surrogateescape")
        self._at = end + 1
        return text

    def row(self, columns: tuple[str, ...]) -> Row:
        """Values by column; one that was too large to be written again is not there."""
        # Most of the time of a salvage is spent here: hence no calls for each value.
        (count,) = self.take(">H")
        message, at = self._message, self._at
        values: dict[str, str | None] = {}
        for column in columns[:count]:
            kind = message[at]
            at += 1
            if kind == _TEXT:
                start = at + 4
                at = start + int.from_bytes(message[at:start], "big")
                values[column] = message[start:at].decode("utf-8", "surrogateescape")
            elif kind == _NULL:
                values[column] = None
        self._at = at
        return values
