"""What the tables hold: exact counts and checksums, so that two states can be told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from lastgood.drivers.sqlite.connection import Connection, one, quoted
from lastgood.drivers.sqlite.shapes import read_tables
from lastgood.sql.rehearsal import Content

Tables = Mapping[str, Mapping[str, str]]
"""Types of columns by table and column, in order."""


def tables(connection: Connection) -> Tables:
    """Tables with rows of their own, but none of ours."""
    return {
        name: {column.name: column.type for column in table.columns}
        for name, table in read_tables(connection).items()
    }


def counts(connection: Connection, found: Tables) -> Mapping[str, int]:
    """Exact rows by table."""
    return {name: int(one(connection, f"SELECT count(*) FROM {quoted(name)}")) for name in sorted(found)}


def content(connection: Connection, table: str, columns: Sequence[str]) -> Content:
    """Rows of one table, and the sum of the digests of ``columns`` over them."""
    number = total = 0
    for row in connection.execute(f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)}"):
        number += 1
        text = repr(row).encode("utf-8", "surrogateescape")
        total += int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
    return Content(number, str(total % (1 << 64)))
