"""The description of a table that precedes its rows in the log, with the names that
``binlog_row_metadata = FULL`` adds.

Source: the server's ``sql/log_event.h`` (``Table_map_log_event``) and ``sql/rpl_utility``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lastgood.drivers.mariadb import values
from lastgood.drivers.mariadb.values import Decoder, Unreadable

_NO_META = frozenset({
    values.TINY, values.SHORT, values.LONG, values.TIMESTAMP, values.LONGLONG, values.INT24, values.DATE,
    values.YEAR, values.NEWDATE,
})  # fmt: skip
_TWO_BYTES = frozenset({values.VARCHAR, values.BIT, values.NEWDECIMAL, values.VAR_STRING, values.STRING})
_SIGNED = frozenset({
    values.TINY, values.SHORT, values.INT24, values.LONG, values.LONGLONG, values.NEWDECIMAL, values.FLOAT,
    values.DOUBLE, values.YEAR,
})  # fmt: skip
_TEXTS = frozenset({values.STRING, values.VAR_STRING, values.VARCHAR, values.GEOMETRY, *values.BLOBS})
_KNOWN = _NO_META | _TWO_BYTES | values.BLOBS | {
    values.FLOAT, values.DOUBLE, values.TIMESTAMP2, values.DATETIME2, values.TIME2, values.GEOMETRY,
}  # fmt: skip

SIGNS, DEFAULT_CHARSET, CHARSETS, NAMES, SET_NAMES, ENUM_NAMES, KEY, PREFIXED_KEY = 1, 2, 3, 4, 5, 6, 8, 9
LIST_DEFAULT_CHARSET, LIST_CHARSETS = 10, 11


@dataclass(frozen=True)
class TableMap:
    """``columns`` by name with how their values are read, in the order of the row; ``key``: the primary key.

    ``unreadable``: why its rows can't be read, empty when they can.
    """

    schema: str
    name: str
    columns: tuple[tuple[str, Decoder], ...] = ()
    key: tuple[str, ...] = ()
    unreadable: str = ""


@dataclass
class _Column:
    kind: int
    meta: int = 0
    unsigned: bool = False
    charset: str = values.BINARY
    names: Sequence[str] = field(default_factory=tuple)


class Reader:
    """Bytes, read from their start."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.content) - self.at

    def take(self, size: int) -> bytes:
        """Raises Unreadable when there is less."""
        begin, self.at = self.at, self.at + size
        if self.at > len(self.content):
            raise Unreadable("the event is shorter than it says")
        return self.content[begin : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def packed(self) -> int:
        """A length-encoded number."""
        first = self.number(1)
        return first if first < 251 else self.number({252: 2, 253: 3, 254: 8}[first])

    def text(self) -> str:
        """One byte of length, the text, a zero."""
        found = self.take(self.number(1)).decode("utf-8", "surrogateescape")
        self.at += 1
        return found


def parse(body: bytes, charsets: Mapping[int, str]) -> tuple[int, TableMap]:
    """The table's number in what follows, and what it is; ``charsets``: names by the collation's id."""
    reader = Reader(body)
    number = reader.number(6)
    reader.take(2)
    schema, name = reader.text(), reader.text()
    columns = [_Column(kind) for kind in reader.take(reader.packed())]
    try:
        _read_meta(columns, Reader(reader.take(reader.packed())))
    except Unreadable as error:
        return number, TableMap(schema, name, unreadable=str(error))
    reader.take((len(columns) + 7) // 8)
    optional = dict(_fields(reader))
    if NAMES not in optional:
        return number, TableMap(schema, name, unreadable="binlog_row_metadata is not FULL")
    names = list(_names(Reader(optional[NAMES])))
    key = tuple(names[position] for position in _key(optional))
    try:
        _describe(columns, optional, charsets)
        decoders = tuple((n, _decoder(column)) for n, column in zip(names, columns, strict=True))
    except (Unreadable, LookupError, struct.error) as error:
        return number, TableMap(schema, name, key=key, unreadable=str(error))
    return number, TableMap(schema, name, decoders, key)


def _read_meta(columns: Sequence[_Column], reader: Reader) -> None:
    for column in columns:
        if column.kind not in _KNOWN:
            raise Unreadable(f"type {column.kind}")
        if column.kind in _TWO_BYTES:
            order = "big" if column.kind in (values.STRING, values.NEWDECIMAL) else "little"
            column.meta = int.from_bytes(reader.take(2), "big" if order == "big" else "little")
            if column.kind == values.STRING and column.meta >> 8 in (values.ENUM, values.SET):
                column.kind, column.meta = column.meta >> 8, column.meta & 0xFF
        elif column.kind not in _NO_META:
            column.meta = reader.number(1)


def _fields(reader: Reader) -> Iterator[tuple[int, bytes]]:
    while reader.left:
        kind = reader.number(1)
        yield kind, reader.take(reader.packed())


def _names(reader: Reader) -> Iterator[str]:
    while reader.left:
        yield reader.take(reader.packed()).decode("utf-8", "surrogateescape")


def _key(optional: Mapping[int, bytes]) -> Iterator[int]:
    for kind in (KEY, PREFIXED_KEY):
        reader = Reader(optional.get(kind, b""))
        while reader.left:
            yield reader.packed()
            if kind == PREFIXED_KEY:
                reader.packed()


def _describe(columns: Sequence[_Column], optional: Mapping[int, bytes], charsets: Mapping[int, str]) -> None:
    signs = optional.get(SIGNS, b"")
    for n, column in enumerate(c for c in columns if c.kind in _SIGNED):
        column.unsigned = bool(n // 8 < len(signs) and signs[n // 8] >> 7 - n % 8 & 1)
    texts = [c for c in columns if c.kind in _TEXTS]
    lists = [c for c in columns if c.kind in (values.ENUM, values.SET)]
    for group, default, each in (
        (texts, DEFAULT_CHARSET, CHARSETS),
        (lists, LIST_DEFAULT_CHARSET, LIST_CHARSETS),
    ):
        for column, collation in zip(group, _collations(optional, default, each, len(group)), strict=True):
            column.charset = charsets[collation]
    for kind, where in ((values.ENUM, ENUM_NAMES), (values.SET, SET_NAMES)):
        reader = Reader(optional.get(where, b""))
        for column in (c for c in columns if c.kind == kind):
            as_text = values.texts(column.charset)
            column.names = [as_text(reader.take(reader.packed())) for _ in range(reader.packed())]


def _collations(optional: Mapping[int, bytes], default: int, each: int, count: int) -> list[int]:
    if default in optional:
        reader = Reader(optional[default])
        found = [reader.packed()] * count
        while reader.left:
            position = reader.packed()
            found[position] = reader.packed()
        return found
    reader = Reader(optional.get(each, b""))
    return [reader.packed() for _ in range(count)]


def _decoder(column: _Column) -> Decoder:
    kind, meta = column.kind, column.meta
    simple = {
        values.DATE: values.date, values.NEWDATE: values.date, values.YEAR: values.year,
        values.TIMESTAMP: values.old_timestamp,
    }  # fmt: skip
    if kind in simple:
        return simple[kind]
    if kind in (values.FLOAT, values.DOUBLE):
        return values.number(kind)
    if kind == values.NEWDECIMAL:
        return values.decimal(meta >> 8, meta & 0xFF)
    if kind == values.BIT:
        return values.bits(meta)
    times = {
        values.TIMESTAMP2: values.timestamp, values.DATETIME2: values.datetime2, values.TIME2: values.time2
    }  # fmt: skip
    if kind in times:
        return times[kind](meta)
    if kind in (values.ENUM, values.SET):
        make = values.enumeration if kind == values.ENUM else values.members
        return make(meta, column.names)
    if kind in values.BLOBS:
        return values.text(meta, column.charset)
    if kind == values.GEOMETRY:
        return values.text(meta, values.BINARY)
    if kind in (values.VARCHAR, values.VAR_STRING):
        return values.text(1 if meta < 256 else 2, column.charset)
    if kind == values.STRING:
        # The two upper bits of the length are hidden, inverted, in the byte of the type.
        width = (((meta >> 4) & 0x300) ^ 0x300) + (meta & 0xFF)
        binary = column.charset == values.BINARY
        return values.text(1 if width < 256 else 2, column.charset, width=width if binary else 0)
    return values.integer(kind, unsigned=column.unsigned)
