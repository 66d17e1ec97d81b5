"""Rows that refer to a row which is not there: foreign keys that don't act are asked for."""

from __future__ import annotations

import sqlite3
from collections import Counter

from lastgood.drivers.sqlite import failures
from lastgood.drivers.sqlite.connection import Connection, rows


def orphans(connection: Connection) -> Counter[tuple[str, str]]:
    """Rows by (table, table they refer to) that refer to nothing. Raises sqlite3.Error for a lock."""
    found: Counter[tuple[str, str]] = Counter()
    for (table,) in rows(connection, "SELECT name FROM pragma_table_list WHERE type = 'table'"):
        try:
            violations = rows(connection, 'SELECT "table", parent FROM pragma_foreign_key_check(?)', table)
        except sqlite3.OperationalError as error:
            if failures.locked(error):
                raise
            continue  # Of a key that refers to columns which are not unique: no program of it can write.
        found.update((str(child), str(parent)) for child, parent in violations)
    return found
