"""What the tables hold: exact counts and checksums, so that two states can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from lastgood.drivers.postgresql.connection import Connection
from lastgood.sql.rehearsal import Content

_TABLES = """
SELECT n.nspname, c.relname,
       coalesce(array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname IS NOT NULL), '{}'),
       coalesce(array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
                FILTER (WHERE a.attname IS NOT NULL), '{}')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lastgood')
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
GROUP BY 1, 2 ORDER BY 1, 2
"""
CHUNK = 100


@dataclass(frozen=True)
class Table:
    """A table with rows of its own; ``columns`` maps names to types, in order."""

    schema: str
    name: str
    columns: Mapping[str, str]

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def tables(connection: Connection) -> Mapping[str, Table]:
    """Tables by qualified name, partitions each for itself; not those of extensions and not our own."""
    found = (
        Table(schema, name, dict(zip(columns, types, strict=True)))
        for schema, name, columns, types in connection.execute(_TABLES)
    )
    return {table.full_name: table for table in found}


def whole_rows(connection: Connection) -> None:
    """For the present transaction: a policy that hides rows is an error, and values always read alike."""
    connection.execute(
        "SET LOCAL row_security = off; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = postgres;"
        "SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = hex;"
        "SET LOCAL search_path = pg_catalog"
    )


def counts(connection: Connection, found: Mapping[str, Table]) -> Mapping[str, int]:
    """Exact rows by table; inside a transaction prepared with ``whole_rows``."""
    counted: dict[str, int] = {}
    names = sorted(found)
    for start in range(0, len(names), CHUNK):
        questions = [
            sql.SQL("SELECT {}, count(*) FROM {}").format(sql.Literal(n), found[n].identifier)
            for n in names[start : start + CHUNK]
        ]
        counted |= dict(connection.execute(sql.SQL(" UNION ALL ").join(questions)).fetchall())
    return counted


def content(connection: Connection, table: Table, columns: Sequence[str]) -> Content:
    """Rows and checksum of ``columns`` of one table; inside a transaction prepared with ``whole_rows``."""
    row = sql.SQL(", ").join(sql.Identifier(column) for column in columns)
    question = sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)), 0)::text FROM {}")
    answer = connection.execute(question.format(row, table.identifier)).fetchone()
    assert answer is not None, "an aggregate always answers"
    return Content(*answer)
