"""Columns as they are put aside and brought back: what SQL says of each."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from lastgood.drivers.postgresql.connection import Connection

# A column's value in the form in which attmissingval holds it: that of the type's output function.
_FIELDS = """
SELECT a.attname, format_type(a.atttypid, NULL),
       t.typnamespace <> 'pg_catalog'::regnamespace
           OR coalesce(c.collnamespace <> 'pg_catalog'::regnamespace, false),
       a.attgenerated <> '', (a.attmissingval::text::text[])[1], a.atthasdef AND NOT a.atthasmissing,
       array_position(i.indkey::int2[], a.attnum)
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation c ON c.oid = a.attcollation
LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


@dataclass(frozen=True)
class Field:
    """A column; ``own_type`` is text for types and collations that revert.sql may drop."""

    name: str
    kind: str
    own_type: bool
    generated: bool
    missing: str | None
    computed: bool
    key_position: int | None

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    @property
    def kept(self) -> sql.Composable:
        """For the list of a SELECT from the table."""
        if not self.own_type:
            return self.identifier
        return sql.SQL('({0})::text COLLATE pg_catalog."default" AS {0}').format(self.identifier)

    @property
    def back(self) -> sql.Composable:
        """The value of ``k``, the kept table. Only a text is cast: a cast would cut what is too long."""
        value = sql.Identifier("k", self.name)
        return sql.SQL("{}::{}").format(value, sql.SQL(self.kind)) if self.own_type else value

    @property
    def written(self) -> sql.Composable:
        """Somebody put a value in: neither NULL nor what ADD COLUMN filled in."""
        if self.missing is None:
            return sql.SQL("{} IS NOT NULL").format(self.identifier)
        return sql.SQL("({0} IS NOT NULL AND pg_catalog.format('%s', {0}) <> {1})").format(
            self.identifier, sql.Literal(self.missing)
        )

    @property
    def untouched(self) -> sql.Composable:
        """Nobody but ADD COLUMN put the value of ``t`` in, be it by a default computed for each row."""
        value = sql.Identifier("t", self.name)
        if self.computed:
            return sql.SQL("true")
        return sql.SQL("({0} IS NULL OR pg_catalog.format('%s', {0}) = {1})").format(
            value, sql.Literal(self.missing)
        )


def read_fields(connection: Connection, schema: str, relation: str) -> list[Field]:
    """In order; none when there is no such table. Under ``contents.whole_rows``."""
    name = sql.Identifier(schema, relation).as_string(connection)
    return [Field(*row) for row in connection.execute(_FIELDS, (name,))]
