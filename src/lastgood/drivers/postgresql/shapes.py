"""The tables of a database as rows are carried into them: columns, keys, and who refers to whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from lastgood.drivers.postgresql.changes import Relation
from lastgood.drivers.postgresql.connection import Connection

_COLUMNS = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind = 'p', a.attname, format_type(a.atttypid, -1),
       format_type(a.atttypid, a.atttypmod), a.attgenerated <> '',
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', (a.attmissingval::text::text[])[1],
       (SELECT pn.nspname || '.' || p.relname FROM pg_class p JOIN pg_namespace pn ON pn.oid = p.relnamespace
        WHERE p.oid = pg_partition_root(c.oid))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
  AND n.nspname NOT IN ('information_schema', 'lastgood')
ORDER BY c.oid, a.attnum
"""
_KEYS = """
SELECT i.indrelid::bigint, ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, o)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE k.o <= i.indnkeyatts ORDER BY k.o)
FROM pg_index i
WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, i.indexrelid
"""
_REFERENCES = """
SELECT c.conname, c.conrelid::bigint, c.confrelid::bigint, c.confdeltype NOT IN ('a', 'r'),
       c.condeferrable, c.condeferred,
       ARRAY(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY k(n, o)
             JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.n ORDER BY k.o),
       ARRAY(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY k(n, o)
             JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.n ORDER BY k.o)
FROM pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0
  AND coalesce(to_jsonb(c) ->> 'conenforced', 'true') = 'true' ORDER BY c.oid
"""


@dataclass(frozen=True)
class Shape:
    """A table. ``types`` by column, as a value is cast to (the length is the column's own affair);
    ``exact``: with the length. ``required``: must be given. ``filled``: what ADD COLUMN filled in.
    ``root``: the topmost table of a partition.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool = False
    root: str = ""
    types: dict[str, str] = field(default_factory=dict)
    exact: dict[str, str] = field(default_factory=dict)
    generated: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)
    filled: dict[str, str | None] = field(default_factory=dict)
    keys: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def label(self) -> str:
        return label(self.schema, self.name)

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def written(self) -> tuple[str, ...]:
        """The columns that are given, and not made by the server."""
        return tuple(c for c in self.types if c not in self.generated)

    def key_for(self, relation: Relation) -> tuple[str, ...]:
        """The columns by which rows of ``relation`` are found here; empty when they can't be."""
        known = set(relation.key)
        return next((key for key in self.keys if key and known.issuperset(key)), ())

    def cast(self, column: str, value: sql.Composable) -> sql.Composed:
        return sql.SQL("{}::{}").format(value, sql.SQL(self.types[column]))


@dataclass(frozen=True)
class Reference:
    """A foreign key; ``acts``: a DELETE of what it refers to changes the referring rows."""

    name: str
    child: int
    parent: int
    acts: bool
    deferrable: bool
    deferred: bool
    columns: tuple[str, ...]
    referred: tuple[str, ...]


@dataclass(frozen=True)
class Shapes:
    """All tables, by oid and by name."""

    tables: Mapping[int, Shape]
    references: Sequence[Reference]
    by_name: Mapping[tuple[str, str], Shape]

    def touching(self, oids: Collection[int]) -> list[Reference]:
        """Those between two tables that are here and one of which is among ``oids``."""
        return [
            r
            for r in self.references
            if (r.child in oids or r.parent in oids) and {r.child, r.parent} <= self.tables.keys()
        ]

    def depth(self, oid: int) -> int:
        """How many tables stand between it and one that refers to nothing; a circle counts once."""
        return self._depth(oid, frozenset())

    def _depth(self, oid: int, seen: frozenset[int]) -> int:
        parents = {r.parent for r in self.references if r.child == oid} - seen - {oid}
        return max((1 + self._depth(parent, seen | {oid}) for parent in parents), default=0)


def label(schema: str, name: str) -> str:
    """``public`` goes without saying."""
    return name if schema == "public" else f"{schema}.{name}"


def read_shapes(connection: Connection) -> Shapes:
    tables: dict[int, Shape] = {}
    for (
        oid,
        schema,
        name,
        partitioned,
        column,
        kind,
        exact,
        generated,
        required,
        filled,
        root,
    ) in connection.execute(_COLUMNS):
        top = (root or "").removeprefix("public.")
        shape = tables.setdefault(oid, Shape(oid, schema, name, partitioned, top))
        shape.types[column], shape.exact[column], shape.filled[column] = kind, exact, filled
        if generated:
            shape.generated.add(column)
        elif required:
            shape.required.add(column)
    for oid, columns in connection.execute(_KEYS):
        if oid in tables:
            tables[oid].keys.append(tuple(columns))
    references = [
        Reference(name, child, parent, acts, deferrable, deferred, tuple(columns), tuple(referred))
        for name, child, parent, acts, deferrable, deferred, columns, referred in connection.execute(
            _REFERENCES
        )
    ]
    return Shapes(tables, references, {(s.schema, s.name): s for s in tables.values()})
