"""The tables of a database as rows are carried into them: columns, keys, and who refers to whom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lastgood.drivers.mariadb.connection import PREFIX, Connection, quoted, rows
from lastgood.drivers.mariadb.values import canonical_float

_TABLES = """
SELECT table_name, table_type, engine, auto_increment FROM information_schema.tables
WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE')
"""
_COLUMNS = """
SELECT table_name, column_name, data_type, column_type, extra, is_nullable, column_default,
       character_set_name
FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position
"""
_KEYS = """
SELECT table_name, column_name, sub_part FROM information_schema.statistics
WHERE table_schema = %s AND index_name = 'PRIMARY' ORDER BY table_name, seq_in_index
"""
# Each names its database, so that no table of another one is opened: some are locked while we look.
_REFERENCES = """
SELECT c.constraint_name, c.table_name, c.delete_rule, c.update_rule, k.column_name,
       k.referenced_table_schema, k.referenced_table_name, k.referenced_column_name
FROM information_schema.referential_constraints c
JOIN information_schema.key_column_usage k
  ON k.table_schema = %s AND k.constraint_name = c.constraint_name AND k.table_name = c.table_name
WHERE c.constraint_schema = %s ORDER BY c.table_name, c.constraint_name, k.ordinal_position
"""
_BINARY = frozenset({
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "point", "linestring",
    "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "uuid", "inet4",
    "inet6",
})  # fmt: skip


@dataclass(frozen=True)
class Column:
    """``exact`` is the type as it is declared; ``required``: an INSERT has to give it; ``filled``: what
    ADD COLUMN puts into rows that are there.
    """

    name: str
    kind: str
    exact: str
    generated: bool
    required: bool
    numbered: bool
    filled: str | None
    charset: str

    @property
    def binary(self) -> bool:
        """Its text form is ``0x…``."""
        return self.kind in _BINARY

    @property
    def text(self) -> str:
        """Read as in ``values``."""
        name = escaped(self.name)
        if self.binary:
            return f"CONCAT('0x', HEX({name}))"
        if self.kind in ("float", "double"):
            return f"CAST(CAST({name} AS DOUBLE) AS CHAR)"
        if self.kind == "bit":
            return f"CAST({name} + 0 AS CHAR)"
        return f"CAST({name} AS CHAR CHARACTER SET utf8mb4)"

    def given(self, value: str | None) -> str | bytes | int | None:
        """As a parameter of a statement."""
        if value is None:
            return None
        if self.binary:
            return bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
        return int(value) if self.kind == "bit" else value

    def read(self, value: str | None) -> str | None:
        if value is None:
            return None
        if self.kind in ("float", "double"):
            return canonical_float(value)
        if "zerofill" in self.exact:
            whole, point, rest = value.partition(".")
            return f"{int(whole)}{point}{rest}"
        return value


@dataclass(frozen=True)
class Shape:
    """A table; ``key`` is the primary one. ``kind`` and ``engine`` as the server calls them."""

    name: str
    kind: str
    engine: str
    auto_increment: int
    columns: dict[str, Column] = field(default_factory=dict)
    key: list[str] = field(default_factory=list)
    prefixed: list[str] = field(default_factory=list)

    @property
    def written(self) -> tuple[str, ...]:
        """The columns that are given, and not made by the server."""
        return tuple(c.name for c in self.columns.values() if not c.generated)

    @property
    def required(self) -> set[str]:
        return {c.name for c in self.columns.values() if c.required}

    @property
    def numbered(self) -> str:
        """The column that AUTO_INCREMENT fills, or ``""``."""
        return next((c.name for c in self.columns.values() if c.numbered), "")


@dataclass(frozen=True)
class Reference:
    """A foreign key of ``child``; ``schema`` is the referred table's. ``on_delete``, ``on_update``: rules."""

    name: str
    child: str
    schema: str
    parent: str
    on_delete: str
    on_update: str
    columns: tuple[str, ...]
    referred: tuple[str, ...]


@dataclass(frozen=True)
class Shapes:
    """All tables of ``schema`` by name; ours are not among them."""

    schema: str
    tables: Mapping[str, Shape]
    references: Sequence[Reference]

    def name(self, table: str) -> str:
        """For a statement that has parameters."""
        return escaped(self.schema, table)

    def depth(self, table: str) -> int:
        """How many tables stand between it and one that refers to nothing; a circle counts once."""
        return self._depth(table, frozenset())

    @property
    def circles(self) -> frozenset[str]:
        """Tables that refer to themselves by way of others: one after the other, they find no parents."""
        return frozenset(t for t in self.tables if t in self._reached(t))

    def _reached(self, table: str) -> set[str]:
        found: set[str] = set()
        waiting = [table]
        while waiting:
            at = waiting.pop()
            further = {r.parent for r in self.references if r.child == at} - {at}
            waiting += further - found
            found |= further
        return found

    def _depth(self, table: str, seen: frozenset[str]) -> int:
        parents = {r.parent for r in self.references if r.child == table} - seen - {table}
        return max((1 + self._depth(parent, seen | {table}) for parent in parents), default=0)


def escaped(*names: str) -> str:
    """An identifier in a statement that has parameters."""
    return quoted(*names).replace("%", "%%")


def read_shapes(connection: Connection, schema: str, *, ours: bool = False) -> Shapes:
    """``ours``: those of lastgood as well. Raises pymysql.Error."""
    tables = {
        name: Shape(name, kind, engine or "", int(number or 0))
        for name, kind, engine, number in rows(connection, _TABLES, schema)
        if ours or not name.startswith(PREFIX)
    }
    for table, name, kind, exact, extra, nullable, default, charset in rows(connection, _COLUMNS, schema):
        if table in tables:
            tables[table].columns[name] = _column(name, kind, exact, extra, nullable, default, charset)
    for table, name, part in rows(connection, _KEYS, schema):
        if table in tables:
            tables[table].key.append(name)
            if part is not None:
                tables[table].prefixed.append(name)
    return Shapes(schema, tables, _references(connection, schema))


def _column(
    name: str, kind: str, exact: str, extra: str, nullable: str, default: str | None, charset: str | None
) -> Column:
    extra = extra.upper()
    generated, numbered = "GENERATED" in extra, "AUTO_INCREMENT" in extra
    required = nullable == "NO" and default is None and not generated and not numbered
    literal = None if default in (None, "NULL") else str(default)
    if literal is not None and re.fullmatch(r"'.*'", literal, re.DOTALL):
        literal = literal[1:-1].replace("''", "'")
    return Column(name, kind.lower(), exact, generated, required, numbered, literal, charset or "")


def _references(connection: Connection, schema: str) -> list[Reference]:
    found: dict[tuple[str, str], Reference] = {}
    for name, child, on_delete, on_update, column, there, parent, referred in rows(
        connection, _REFERENCES, schema, schema
    ):
        known = found.get((child, name))
        columns = (*(known.columns if known else ()), column)
        others = (*(known.referred if known else ()), referred)
        found[child, name] = Reference(name, child, there, parent, on_delete, on_update, columns, others)
    return list(found.values())
