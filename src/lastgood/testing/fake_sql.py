"""What the fake database knows of SQLite: its schema, its rows, its scripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from lastgood.domain.digest import digest
from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_

OWN = "lastgood_revisions"
Listing = dict[tuple[str, str], str]
Rows = dict[str, tuple[int, str]]
"""Number of rows and the digest of their values, by table."""
Columns = Mapping[str, Sequence[str]]
"""By table."""


def revisions(connection: sqlite3.Connection) -> tuple[tuple[str, str], ...]:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (OWN,)).fetchall():
        return ()
    return tuple(connection.execute(f"SELECT name, digest FROM {OWN} ORDER BY seq").fetchall())


def tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in found if not name.startswith(("lastgood_", "sqlite_"))]


def listing(connection: sqlite3.Connection) -> Listing:
    found: Listing = {}
    for table in tables(connection):
        columns = connection.execute(f'PRAGMA table_xinfo("{table}")').fetchall()
        found["table", table] = ", ".join(row[1] for row in columns)
        found |= {("column", f"{table}.{row[1]}"): repr(row[2:]) for row in columns}
    for kind, name, text in connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE type <> 'table' AND sql IS NOT NULL"
    ):
        if not name.startswith("lastgood_"):
            found[kind, name] = text
    return found


def columns_of(connection: sqlite3.Connection) -> Columns:
    return {
        table: [row[1] for row in connection.execute(f'PRAGMA table_xinfo("{table}")')]
        for table in tables(connection)
    }


def rows_of(connection: sqlite3.Connection, columns: Columns) -> Rows:
    """Over those ``columns``; a table that lacks one of them is left out."""
    found: Rows = {}
    for table, present in columns_of(connection).items():
        wanted = columns.get(table, present)
        if set(wanted) <= set(present):
            names = ", ".join(f'"{name}"' for name in wanted)
            values = sorted(map(repr, connection.execute(f'SELECT {names} FROM "{table}"')))
            found[table] = len(values), digest(values)
    return found


def run_script(connection: sqlite3.Connection, file: str, statements: Sequence[tuple[str, int]]) -> None:
    for text, line in statements:
        try:
            connection.execute(text).fetchall()
        except sqlite3.Error as error:
            raise Rejected(
                N_("{file} fails in line {line}: {error}"),
                where=f"{file}:{line}", cause=Cause.SCRIPT_ERROR, file=file, line=line, error=str(error),
            ) from None  # fmt: skip
