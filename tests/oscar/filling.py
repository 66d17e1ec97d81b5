"""Three rows in every table of a database, whatever tables there are."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

ROWS = 3

_COLUMNS = """
SELECT table_name, column_name, data_type, character_maximum_length FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
_VALUES = {
    "boolean": "n % 2 = 1",
    "jsonb": "to_jsonb(n)",
    "date": "date '2026-01-01' + n",
    "timestamp with time zone": "timestamptz '2026-01-01' + n * interval '1 day'",
    "text": "n || ' of three'",
}


def fill(connection: psycopg.Connection[Any]) -> list[str]:
    """The tables. A number is the row's own, and so is each reference: row 2 refers to rows 2. A text begins
    with it and goes on alike everywhere, because countries are referred to by their letters; every older
    shape has room for it.
    """
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind, length in connection.execute(_COLUMNS):
        value = f"left(n || repeat('x', 20), {length})" if length else _VALUES.get(kind, "n")
        tables.setdefault(table, []).append((column, value))
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        for table, columns in tables.items():
            connection.execute(
                sql.SQL(
                    "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM generate_series(1, {}) n"
                ).format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(sql.Identifier(column) for column, _ in columns),
                    sql.SQL(", ".join(value for _, value in columns)),
                    sql.Literal(ROWS),
                )
            )
    return sorted(tables)
