"""A scratch database filled for one purpose: with all of the live one, or with a sample of its rows."""

from __future__ import annotations

from collections.abc import Sequence

from lastgood.drivers.mariadb.binaries import Binaries
from lastgood.drivers.mariadb.connection import (
    PREFIX,
    Connection,
    Server,
    is_mariadb,
    lock_no_source,
    one,
    quoted,
    rows,
    run,
)
from lastgood.drivers.mariadb.snapshot import ARGUMENTS

SAMPLE_ROWS = 1000
"""Rows of each table that a sample has at most."""

_WHOLE = frozenset(
    f"{PREFIX}{name}" for name in ("revisions", "progress", "restores", "kept", "undo", "undo_runs")
)
"""Tables of ours that say what there is. What they tell of can be as large as anybody's, and is a sample."""
_EMPTY = 192 << 10
"""Bytes of a table with nothing in it, about."""
_WORDS = tuple(word for word in ARGUMENTS if word != "--verbose")
_SHAPES = (
    "--no-data", "--skip-triggers", *(word for word in _WORDS if word not in ("--routines", "--triggers"))
)  # fmt: skip
_PROGRAMS = ("--no-data", "--no-create-info", *_WORDS)

_SIZE = """
SELECT COALESCE(SUM(%s + LEAST(size, size * %s / GREATEST(counted, 1))), 0) FROM (
    SELECT DATA_LENGTH + INDEX_LENGTH AS size, COALESCE(TABLE_ROWS, 0) AS counted
    FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE <> 'VIEW'
) tables
"""
_COLUMNS = """
SELECT c.TABLE_NAME, c.COLUMN_NAME FROM information_schema.COLUMNS c
JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
WHERE c.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
  AND COALESCE(c.GENERATION_EXPRESSION, '') = ''
ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION
"""
_TABLES = """
SELECT TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""
_REFERENCES = """
SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME, COLUMN_NAME, REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE
WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_SCHEMA = DATABASE()
ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION
"""


def copy_whole(source: Server, copy: Server, binaries: Binaries) -> None:
    """All of it, at one cut; a table without transactions at some moment of the copying."""
    _refuse_locked(source)
    binaries.pour(source, _WORDS, copy)


def copy_sample(source: Server, copy: Server, binaries: Binaries) -> None:
    """The schema, ``SAMPLE_ROWS`` of each table, without those whose foreign keys lead out of the sample.

    The server copies them itself; no row of the live database is locked for it.
    """
    _refuse_locked(source)
    binaries.pour(source, _SHAPES, copy)
    with source.patient_session() as live, copy.patient_session() as made:
        lock_no_source(made)
        run(made, "SET SESSION foreign_key_checks = 0, unique_checks = 0")
        # Values are what they are: a number of 0 does not get the next one, and dates of zeros pass.
        run(made, "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
        if is_mariadb(made):
            run(made, "SET SESSION check_constraint_checks = 0")
        columns: dict[str, list[str]] = {}
        for table, column in rows(live, _COLUMNS):
            columns.setdefault(table, []).append(column)
        for table, named in columns.items():
            _copy_rows(made, source.database, table, named)
        _keep_closed(made)
    binaries.pour(source, _PROGRAMS, copy)


def sample_size(connection: Connection) -> int:
    """Bytes that a sample needs, about."""
    return int(one(connection, _SIZE, _EMPTY, SAMPLE_ROWS))


def _refuse_locked(source: Server) -> None:
    """The tool that dumps would wait for a locked table for a day; we wait ``lock_timeout``."""
    with source.session() as connection:
        for (table,) in rows(connection, _TABLES):
            run(connection, f"SELECT 1 FROM {quoted(table)} LIMIT 0")


def _copy_rows(made: Connection, source: str, table: str, columns: Sequence[str]) -> None:
    names = ", ".join(quoted(column) for column in columns)
    limit = "" if table in _WHOLE else f" LIMIT {SAMPLE_ROWS}"
    run(
        made, f"INSERT INTO {quoted(table)} ({names}) SELECT {names} FROM {quoted(source, table)}{limit}"
    )  # fmt: skip


def _keep_closed(made: Connection) -> None:
    """Remove rows that refer to rows which are not in the sample, and what refers to those, to the end."""
    references: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for table, name, other, here, there in rows(made, _REFERENCES):
        references.setdefault((table, name, other), []).append((here, there))
    while sum(_remove_strays(made, t, other, pairs) for (t, _, other), pairs in references.items()):
        pass


def _remove_strays(made: Connection, table: str, other: str, pairs: Sequence[tuple[str, str]]) -> int:
    equal = " AND ".join(f"y.{quoted(there)} = x.{quoted(here)}" for here, there in pairs)
    said = " AND ".join(f"x.{quoted(here)} IS NOT NULL" for here, _ in pairs)
    return run(
        made,
        f"DELETE x FROM {quoted(table)} x LEFT JOIN {quoted(other)} y ON {equal} "
        f"WHERE {said} AND y.{quoted(pairs[0][1])} IS NULL",
    )
