"""What the tables hold: exact counts and checksums, so that two states can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lastgood.drivers.mariadb.connection import PREFIX, Connection, one, quoted, rows
from lastgood.sql.rehearsal import Content

_COLUMNS = """
SELECT t.TABLE_NAME, c.COLUMN_NAME, CONCAT_WS(' ', c.COLUMN_TYPE, c.COLLATION_NAME)
FROM information_schema.TABLES t JOIN information_schema.COLUMNS c
  ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME
WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
ORDER BY t.TABLE_NAME, c.ORDINAL_POSITION
"""

Tables = Mapping[str, Mapping[str, str]]
"""Types of columns by table and column, in order."""


def tables(connection: Connection) -> Tables:
    """Tables with rows of their own, but none of ours."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows(connection, _COLUMNS):
        if not table.startswith(PREFIX):
            found.setdefault(table, {})[column] = kind
    return found


def counts(connection: Connection, found: Tables) -> Mapping[str, int]:
    """Exact rows by table."""
    return {name: int(one(connection, f"SELECT COUNT(*) FROM {quoted(name)}")) for name in sorted(found)}


def content(connection: Connection, table: str, columns: Sequence[str]) -> Content:
    """Rows of one table, and the sum of the digests of ``columns`` over them."""
    row = ", ".join(f"QUOTE({quoted(column)})" for column in columns)
    digest = f"CAST(CONV(LEFT(MD5(CONCAT_WS(',', {row})), 15), 16, 10) AS unsigned)"
    query = f"SELECT COUNT(*), COALESCE(SUM({digest}), 0) FROM {quoted(table)}"
    number, total = rows(connection, query)[0]
    return Content(int(number), str(total))


def size(connection: Connection) -> int:
    """Bytes that the present database takes, as far as the server has counted them."""
    query = (
        "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES "
        "WHERE TABLE_SCHEMA = DATABASE()"
    )
    return int(one(connection, query))
