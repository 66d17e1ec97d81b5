"""A row that is more than the server takes as one statement, cut into pieces that it takes. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

TOO_LONG = "a value of it is longer than the server's max_allowed_packet"
_WIDEST = 4
_ESCAPED = 2
"""Bytes of a character in UTF-8; and of a byte of a binary string, which may be escaped."""


def size(value: Any) -> int:
    """Bytes that it takes in a statement at most."""
    if isinstance(value, str):
        return len(value) * _WIDEST
    return len(value) * _ESCAPED if isinstance(value, bytes) else 0


def first(row: Mapping[str, Any], room: int) -> dict[str, Any]:
    """All columns, with the beginnings of long values: together they are less than ``room`` bytes."""
    share = _share(row, room)
    return {c: v[:share] if isinstance(v, (str, bytes)) else v for c, v in row.items()}


def rest(row: Mapping[str, Any], room: int) -> Iterator[tuple[str, Any]]:
    """What has to be put behind the value of a column, in order."""
    share, piece = _share(row, room), room // (2 * _WIDEST)
    for column, value in row.items():
        if isinstance(value, (str, bytes)):
            for begin in range(share, len(value), piece):
                yield column, value[begin : begin + piece]


def _share(row: Mapping[str, Any], room: int) -> int:
    return room // (2 * _WIDEST * max(1, len(row)))
