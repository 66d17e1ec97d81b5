"""A copy made for one purpose: all of the live database, or its schema with a sample of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import LiteralString

from psycopg import sql

from lastgood.drivers.postgresql import contents, publication
from lastgood.drivers.postgresql.binaries import Binaries
from lastgood.drivers.postgresql.connection import Connection, Server, one

SAMPLE_ROWS = 1000
"""Rows of each table that a sample has at most."""

_WHOLE = ("revisions", "attempts", "kept", "undo", "undo_runs", "restores")
"""Tables of ours that say what there is. What they tell of, rows put aside and rows before and after, can be
as large as anybody's tables, and is a sample like those."""

_EMPTY = 16 << 20
"""Bytes of a database with nothing in it, about."""
# A table that was never analyzed has a row on each page at least.
_SIZE = """
SELECT coalesce(sum(least(size, size * %s / greatest(rows, 1))), 0)::bigint FROM (
    SELECT pg_total_relation_size(c.oid) AS size,
           CASE WHEN c.reltuples > 0 THEN c.reltuples::numeric
                ELSE pg_relation_size(c.oid) / current_setting('block_size')::numeric END AS rows
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
) tables
"""
_COLUMNS = """
SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY 1, 2 ORDER BY 1, 2
"""
_NAMES: LiteralString = (
    "(SELECT ARRAY[n.nspname::text, c.relname::text] FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {})"
)
_REFERENCES: LiteralString = f"""
SELECT {_NAMES.format("f.conrelid")}, {_NAMES.format("f.confrelid")},
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k(attnum, position)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum ORDER BY k.position),
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k(attnum, position)
             JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum ORDER BY k.position)
FROM pg_constraint f WHERE f.contype = 'f' AND f.conparentid = 0
"""
_SEQUENCES: LiteralString = (
    "SELECT schemaname, sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL"
)
_RESTORE = ("--exit-on-error", "--no-subscriptions")


def copy_whole(source: Server, copy: Server, binaries: Binaries) -> None:
    """All of it, at one cut."""
    with _cut(source) as (_, words):
        binaries.pour(source, words, copy, _RESTORE)
    _without_captures(copy)


def copy_sample(source: Server, copy: Server, binaries: Binaries) -> None:
    """The schema, ``SAMPLE_ROWS`` of each table, without those whose foreign keys lead out of the sample."""
    with _cut(source) as (live, words):
        binaries.pour(source, [*words, "--section=pre-data"], copy, _RESTORE)
        with copy.patient_session() as made:
            for schema, table, columns in live.execute(_COLUMNS).fetchall():
                whole = schema == "lastgood" and table in _WHOLE
                _copy_rows(live, made, sql.Identifier(schema, table), columns, whole=whole)
            _keep_closed(live, made)
            for schema, name, last in live.execute(_SEQUENCES).fetchall():
                made.execute(
                    sql.SQL("SELECT setval({}::regclass, {})").format(
                        sql.Literal(sql.Identifier(schema, name).as_string(made)), sql.Literal(last)
                    )
                )
        binaries.pour(source, [*words, "--section=post-data"], copy, _RESTORE)
    _without_captures(copy)


def sample_size(connection: Connection) -> int:
    """Bytes that a sample needs, about: a materialized view is made from it, and counted as a table."""
    return _EMPTY + int(one(connection, _SIZE, SAMPLE_ROWS))


@contextmanager
def _cut(source: Server) -> Iterator[tuple[Connection, Sequence[str]]]:
    """One state of the live database, and the words by which pg_dump reads the same."""
    with source.patient_session() as live:
        live.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        live.execute(source.guards(statement_timeout=0))
        contents.whole_rows(live)
        exported = one(live, "SELECT pg_export_snapshot()")
        wait = round(source.settings.lock_timeout * 1000)
        yield live, [f"--snapshot={exported}", f"--lock-wait-timeout={wait}"]
        live.execute("ROLLBACK")


def _copy_rows(
    live: Connection, made: Connection, table: sql.Identifier, columns: Sequence[str], *, whole: bool
) -> None:
    names = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    limit = sql.SQL("") if whole else sql.SQL(" LIMIT {}").format(sql.Literal(SAMPLE_ROWS))
    read = sql.SQL("COPY (SELECT {} FROM ONLY {}{}) TO STDOUT").format(names, table, limit)
    write = sql.SQL("COPY {} ({}) FROM STDIN").format(table, names)
    with (
        live.cursor() as reading,
        made.cursor() as writing,
        reading.copy(read) as rows,
        writing.copy(write) as into,
    ):
        for piece in rows:
            into.write(piece)


def _keep_closed(live: Connection, made: Connection) -> None:
    """Remove rows that refer to rows which are not in the sample, and what refers to those, to the end."""
    references = live.execute(_REFERENCES).fetchall()
    while sum(_remove_strays(made, *reference) for reference in references):
        pass


def _remove_strays(
    made: Connection,
    table: Sequence[str],
    other: Sequence[str],
    columns: Sequence[str],
    others: Sequence[str],
) -> int:
    """``table`` and ``other`` by schema and name."""
    same: Mapping[str, str] = dict(zip(columns, others, strict=True))
    said = [sql.SQL("x.{} IS NOT NULL").format(sql.Identifier(column)) for column in same]
    equal = [
        sql.SQL("y.{} = x.{}").format(sql.Identifier(there), sql.Identifier(here))
        for here, there in same.items()
    ]
    delete = sql.SQL("DELETE FROM {} x WHERE {} AND NOT EXISTS (SELECT FROM {} y WHERE {})").format(
        sql.Identifier(*table),
        sql.SQL(" AND ").join(said),
        sql.Identifier(*other),
        sql.SQL(" AND ").join(equal),
    )
    return made.execute(delete).rowcount


def _without_captures(copy: Server) -> None:
    with copy.session() as connection:
        publication.drop(connection, publication.open_captures(connection))
