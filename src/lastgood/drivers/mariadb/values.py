"""Column values of a row event as the server would print them: every type has one text form, so that what
the log says, what the copy holds and what is written into it compare as text.

Times are in UTC. Floats are the shortest text of the double that has their value, bits a number, binary
strings and geometries ``0x…``. Source: the server's ``sql/log_event.cc`` and
https://mariadb.com/docs/server/reference/clientserver-protocol/replication-protocol
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

Decoder = Callable[[bytes, int], tuple[str, int]]
"""Of a row image and where the value begins: the value and where the next one begins."""

TINY, SHORT, LONG, FLOAT, DOUBLE, TIMESTAMP, LONGLONG, INT24, DATE = 1, 2, 3, 4, 5, 7, 8, 9, 10
YEAR, NEWDATE, VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2 = 13, 14, 15, 16, 17, 18, 19
NEWDECIMAL, ENUM, SET = 246, 247, 248
TINY_BLOB, MEDIUM_BLOB, LONG_BLOB, BLOB, VAR_STRING, STRING, GEOMETRY = 249, 250, 251, 252, 253, 254, 255
BLOBS = frozenset({TINY_BLOB, MEDIUM_BLOB, LONG_BLOB, BLOB})
BINARY = "binary"

_INTEGERS = {TINY: 1, SHORT: 2, INT24: 3, LONG: 4, LONGLONG: 8}
_DIGITS = 9
_BYTES_OF_DIGITS = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)

# The server's names; where Python has none, or another thing of that name, the table can't be read.
_CODECS = {
    "utf8mb4": "utf-8", "utf8mb3": "utf-8", "utf8": "utf-8", "ascii": "ascii", "ucs2": "utf-16-be",
    "utf16": "utf-16-be", "utf16le": "utf-16-le", "utf32": "utf-32-be", "latin2": "iso8859-2",
    "latin5": "iso8859-9", "latin7": "iso8859-13", "greek": "iso8859-7", "hebrew": "iso8859-8",
    "cp1250": "cp1250", "cp1251": "cp1251", "cp1256": "cp1256", "cp1257": "cp1257", "koi8r": "koi8-r",
    "koi8u": "koi8-u", "gbk": "gbk", "gb2312": "gb2312", "big5": "big5", "sjis": "shift_jis",
    "cp932": "cp932", "ujis": "euc_jp", "euckr": "euc_kr",
}  # fmt: skip
_LATIN1 = "latin1"
READABLE = frozenset({*_CODECS, _LATIN1, BINARY})
"""Character sets whose texts can be read."""


class Unreadable(Exception):
    """A value that this reader does not know; nothing is guessed."""


def integer(kind: int, *, unsigned: bool) -> Decoder:
    size = _INTEGERS[kind]

    def decode(row: bytes, at: int) -> tuple[str, int]:
        end = at + size
        return str(int.from_bytes(row[at:end], "little", signed=not unsigned)), end

    return decode


def number(kind: int) -> Decoder:
    shape, size = ("<f", 4) if kind == FLOAT else ("<d", 8)

    def decode(row: bytes, at: int) -> tuple[str, int]:
        return repr(struct.unpack_from(shape, row, at)[0]), at + size

    return decode


def decimal(precision: int, scale: int) -> Decoder:
    whole, parts = divmod(precision - scale, _DIGITS)
    fractions, rest = divmod(scale, _DIGITS)
    sizes = [(parts, _BYTES_OF_DIGITS[parts])] if parts else []
    sizes += [(_DIGITS, 4)] * whole
    tail = [(_DIGITS, 4)] * fractions + ([(rest, _BYTES_OF_DIGITS[rest])] if rest else [])
    size = sum(n for _, n in (*sizes, *tail))

    def decode(row: bytes, at: int) -> tuple[str, int]:
        raw = bytearray(row[at : at + size])
        negative = not raw[0] & 0x80
        raw[0] ^= 0x80
        if negative:
            raw = bytearray(byte ^ 0xFF for byte in raw)
        position = 0
        texts = []
        for group in (sizes, tail):
            digits = ""
            for count, bytes_ in group:
                digits += f"{int.from_bytes(raw[position : position + bytes_], 'big'):0{count}}"
                position += bytes_
            texts.append(digits)
        text = (texts[0].lstrip("0") or "0") + (f".{texts[1]}" if texts[1] else "")
        return ("-" if negative else "") + text, at + size

    return decode


def bits(meta: int) -> Decoder:
    size = (meta >> 8) + bool(meta & 0xFF)

    def decode(row: bytes, at: int) -> tuple[str, int]:
        return str(int.from_bytes(row[at : at + size], "big")), at + size

    return decode


def date(row: bytes, at: int) -> tuple[str, int]:
    value = int.from_bytes(row[at : at + 3], "little")
    return f"{value >> 9:04}-{value >> 5 & 15:02}-{value & 31:02}", at + 3


def year(row: bytes, at: int) -> tuple[str, int]:
    return (str(1900 + row[at]) if row[at] else "0000"), at + 1


def _fraction(row: bytes, at: int, digits: int) -> tuple[str, int]:
    size = (digits + 1) // 2
    if not digits:
        return "", at
    value = int.from_bytes(row[at : at + size], "big")
    return f".{value:0{2 * size}}"[: digits + 1], at + size


def timestamp(digits: int) -> Decoder:
    def decode(row: bytes, at: int) -> tuple[str, int]:
        seconds = int.from_bytes(row[at : at + 4], "big")
        fraction, end = _fraction(row, at + 4, digits)
        if not seconds:
            return "0000-00-00 00:00:00" + fraction, end
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction}", end

    return decode


def old_timestamp(row: bytes, at: int) -> tuple[str, int]:
    seconds = int.from_bytes(row[at : at + 4], "little")
    text = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}" if seconds else "0000-00-00 00:00:00"
    return text, at + 4


def datetime2(digits: int) -> Decoder:
    def decode(row: bytes, at: int) -> tuple[str, int]:
        value = int.from_bytes(row[at : at + 5], "big") - (1 << 39)
        fraction, end = _fraction(row, at + 5, digits)
        years, months = divmod(value >> 22, 13)
        day = f"{years:04}-{months:02}-{value >> 17 & 31:02}"
        return f"{day} {value >> 12 & 31:02}:{value >> 6 & 63:02}:{value & 63:02}{fraction}", end

    return decode


def time2(digits: int) -> Decoder:
    size = (digits + 1) // 2

    def decode(row: bytes, at: int) -> tuple[str, int]:
        end = at + 3 + size
        value = int.from_bytes(row[at:end], "big") - (1 << 8 * size + 23)
        sign, value = ("-", -value) if value < 0 else ("", value)
        part = value & (1 << 8 * size) - 1
        value >>= 8 * size
        fraction = f".{part:0{2 * size}}"[: digits + 1] if digits else ""
        return f"{sign}{value >> 12:02}:{value >> 6 & 63:02}:{value & 63:02}{fraction}", end

    return decode


def text(length: int, charset: str, *, width: int = 0) -> Decoder:
    """``length``: bytes of the number before it; ``width``: that of a BINARY, whose zeros are not logged."""
    as_text = texts(charset)

    def decode(row: bytes, at: int) -> tuple[str, int]:
        begin = at + length
        end = begin + int.from_bytes(row[at:begin], "little")
        return as_text(row[begin:end].ljust(width, b"\0")), end

    return decode


def texts(charset: str) -> Callable[[bytes], str]:
    """Raises Unreadable when the character set is not known."""
    if charset == BINARY:
        return lambda raw: "0x" + raw.hex().upper()
    if charset == _LATIN1:
        return _latin1
    codec = _CODECS.get(charset)
    if codec is None:
        raise Unreadable(f"character set {charset}")
    return lambda raw: raw.decode(codec)


def _latin1(raw: bytes) -> str:
    """The server's latin1 is Windows' 1252, which leaves five bytes undefined; there they are controls."""
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(
            chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes((byte,)).decode("cp1252")
            for byte in raw
        )


def enumeration(size: int, names: Sequence[str]) -> Decoder:
    def decode(row: bytes, at: int) -> tuple[str, int]:
        index = int.from_bytes(row[at : at + size], "little")
        return (names[index - 1] if index else ""), at + size

    return decode


def members(size: int, names: Sequence[str]) -> Decoder:
    def decode(row: bytes, at: int) -> tuple[str, int]:
        value = int.from_bytes(row[at : at + size], "little")
        return ",".join(name for n, name in enumerate(names) if value >> n & 1), at + size

    return decode


def canonical_float(value: str) -> str:
    """The text of a DOUBLE as the server prints it, as it is written here."""
    return repr(float(value))


def alike(one: str | None, other: str | None) -> bool:
    """Whether two texts are the same value of types that differ in how they are written only: more places
    behind the point, a number as a text.
    """
    if one == other or one is None or other is None:
        return one == other
    return _shortest(one) == _shortest(other)


def _shortest(text: str) -> str:
    try:
        return str(Decimal(text).normalize())
    except InvalidOperation:
        return re.sub(r"(:\d\d)\.?0*$|(:\d\d\.\d*?)0+$", r"\1\2", text)
