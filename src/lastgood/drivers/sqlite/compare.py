"""Rows of one table in two states of a database, compared by the library itself: by value, type and bytes."""

from __future__ import annotations

from collections.abc import Iterable

from lastgood.drivers.sqlite.connection import quoted
from lastgood.drivers.sqlite.shapes import Table


def differs(columns: Iterable[str], one: str, other: str) -> str:
    """That rows ``one`` and ``other`` are not alike in these. A number and its text are not, nor are upper
    and lower case, whatever the column compares as equal.
    """
    pairs = [(f"{one}.{quoted(c)}", f"{other}.{quoted(c)}") for c in columns]
    return " OR ".join(
        f"{a} IS NOT {b} COLLATE BINARY OR typeof({a}) <> typeof({b})" for a, b in pairs
    ) or "false"  # fmt: skip


def matching(table: Table, one: str, other: str) -> str:
    """That both are the row of one key of ``table``."""
    sign = "=" if table.without_rowid or table.keyless or table.numbered else "IS"
    return " AND ".join(f"{one}.{quoted(c)} {sign} {other}.{quoted(c)}" for c in table.key)


def missing(table: Table, alias: str) -> str:
    """That an outer join found no row of ``table``."""
    return f"{alias}.{quoted(table.present)} IS NULL"
