"""What a revert would lose is put aside in the same transaction, and comes back with its migration.

Kept is what was written into the columns, tables and types that a migration added: by primary key, in
tables of their own in the schema ``lastgood``, which no fingerprint and no comparison of rows looks at.
Nothing here depends on the user's objects, so that revert.sql may drop all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from lastgood.drivers.postgresql import contents
from lastgood.drivers.postgresql.connection import Connection, one
from lastgood.drivers.postgresql.fields import Field, read_fields
from lastgood.sql.aside import Added, place

_SHAPES = """
SELECT c.oid::bigint, n.nspname, c.relname, a.attnum, a.attname, a.atttypid || ' ' || a.atttypmod
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lastgood')
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 2, 3, 4
"""
_REGISTRY = """
CREATE TABLE lastgood.kept (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('column', 'table', 'retyped')),
    "schema" text NOT NULL,
    relation text NOT NULL,
    "column" text,
    kept_in text NOT NULL,
    key text[] NOT NULL,
    rows bigint NOT NULL,
    kept_by text NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    returned bigint,
    returned_by text,
    returned_at timestamptz
)
"""
_SETTINGS = ("row_security", "datestyle", "intervalstyle", "timezone", "extra_float_digits", "bytea_output")

Shapes = Mapping[int, tuple[str, str, Mapping[int, tuple[str, str]]]]
"""Tables by oid: schema, name, and columns by number: name and type."""


@dataclass(frozen=True)
class Kept:
    """A row of ``lastgood.kept`` whose values have not come back."""

    id: int
    kind: str
    schema: str
    relation: str
    column: str | None
    kept_in: str
    key: Sequence[str]

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.relation)

    @property
    def store(self) -> sql.Identifier:
        return sql.Identifier("lastgood", self.kept_in)

    @property
    def place(self) -> str:
        return _place(self.schema, self.relation, self.column)


def between(before: Shapes, after: Shapes) -> Added:
    """What a migration added, by object ids and column numbers: something renamed is nothing added."""
    tables, columns, retyped = [], [], []
    for oid, (schema, name, now) in after.items():
        if oid not in before:
            tables.append((schema, name))
            continue
        was = before[oid][2]
        columns += [(schema, name, column) for n, (column, _) in now.items() if n not in was]
        retyped += [(schema, name, c) for n, (c, kind) in now.items() if n in was and was[n][1] != kind]
    return Added(tuple(tables), tuple(columns), tuple(retyped))


def shapes(connection: Connection) -> Shapes:
    """The tables as they are, to be compared by ``between``."""
    found: dict[int, tuple[str, str, dict[int, tuple[str, str]]]] = {}
    for oid, schema, name, number, column, kind in connection.execute(_SHAPES):
        columns = found.setdefault(oid, (schema, name, {}))[2]
        if number is not None:
            columns[number] = (column, kind)
    return found


def put_aside(connection: Connection, migration: str, key: str, added: Added) -> None:
    """Before revert.sql: keep what is in ``added``; ``settle`` follows. Raises psycopg.Error.

    The tables are locked first, so that nothing is written between the copy and the DROP.
    """
    contents.whole_rows(connection)
    _lock(connection, [part[:2] for part in (*added.tables, *added.columns, *added.retyped)])
    for schema, name in added.tables:
        fields = [f for f in read_fields(connection, schema, name) if not f.generated]
        _keep(connection, migration, key, _Part("table", schema, name, None), fields, sql.SQL("true"))
    for kind, parts in (("column", added.columns), ("retyped", added.retyped)):
        for part in parts:
            _keep_column(connection, migration, key, _Part(kind, *part), added)
    reset(connection)


def settle(connection: Connection, migration: str, key: str) -> Mapping[str, int]:
    """After revert.sql: what it left in place is not kept, and a retyped value is noted as it is now.

    The rows that are kept, by place.
    """
    contents.whole_rows(connection)
    for kept in _pending(connection, migration, key):
        fields = {f.name: f for f in read_fields(connection, kept.schema, kept.relation)}
        there = bool(fields) and (kept.column is None or kept.column in fields)
        if kept.kind != "retyped" and there:
            connection.execute(sql.SQL("DROP TABLE {}").format(kept.store))
            connection.execute("DELETE FROM lastgood.kept WHERE id = %s", (kept.id,))
        elif kept.kind == "retyped" and there and kept.key:
            connection.execute(
                sql.SQL("UPDATE {} k SET lastgood_was = t.{}::text FROM ONLY {} t WHERE {}").format(
                    kept.store, sql.Identifier(kept.column or ""), kept.table, _matching(kept, fields)
                )
            )
    reset(connection)
    return report(connection, "kept_by", migration, key)


def before_deploy(connection: Connection, migration: str) -> None:
    """Note which retyped values nobody changed since: only those may be replaced after deploy.sql."""
    pending = [k for k in _pending(connection, migration) if k.kind == "retyped" and k.key]
    if not pending:
        return
    contents.whole_rows(connection)
    _lock(connection, [(k.schema, k.relation) for k in pending])
    for kept in pending:
        fields = {f.name: f for f in read_fields(connection, kept.schema, kept.relation)}
        if {kept.column, *kept.key} <= fields.keys():
            connection.execute(
                sql.SQL(
                    "UPDATE {} k SET lastgood_untouched = t.{}::text IS NOT DISTINCT FROM k.lastgood_was "
                    "FROM ONLY {} t WHERE {}"
                ).format(kept.store, sql.Identifier(kept.column or ""), kept.table, _matching(kept, fields))
            )
    reset(connection)


def bring_back(connection: Connection, migration: str, key: str) -> Mapping[str, int]:
    """After deploy.sql: what was put aside returns. Rows by place; what can't return stays kept.

    Raises psycopg.OperationalError (locks, timeouts, a lost session); other errors leave it kept.
    """
    pending = list(_pending(connection, migration))
    failed: dict[str, int] = {}
    progress = True
    while pending and progress:  # A table may need the rows of another one first.
        progress = False
        for kept in list(pending):
            rows = _try(connection, kept)
            if rows is None:
                failed.setdefault(kept.place, 0)
                continue
            progress = True
            pending.remove(kept)
            connection.execute(
                "UPDATE lastgood.kept SET returned = %s, returned_by = %s, returned_at = clock_timestamp() "
                "WHERE id = %s",
                (rows, key, kept.id),
            )
    return {**failed, **report(connection, "returned_by", migration, key)}


def report(connection: Connection, side: str, migration: str, key: str) -> Mapping[str, int]:
    """Rows by place that the step ``key`` put aside (``kept_by``) or brought back (``returned_by``)."""
    if not _registry(connection):
        return {}
    number = "rows" if side == "kept_by" else "returned"
    question = sql.SQL(
        'SELECT "schema", relation, "column", {} FROM lastgood.kept '
        "WHERE migration = {} AND {} = {} ORDER BY id"
    ).format(sql.Identifier(number), sql.Literal(migration), sql.Identifier(side), sql.Literal(key))
    counted: dict[str, int] = {}
    for schema, relation, column, rows in connection.execute(question):
        place = _place(schema, relation, column)
        counted[place] = counted.get(place, 0) + rows
    return counted


@dataclass(frozen=True)
class _Part:
    kind: str
    schema: str
    relation: str
    column: str | None


def _keep_column(connection: Connection, migration: str, key: str, part: _Part, added: Added) -> None:
    fields = [f for f in read_fields(connection, part.schema, part.relation) if not f.generated]
    field = next((f for f in fields if f.name == part.column), None)
    keys = sorted((f for f in fields if f.key_position is not None), key=lambda f: f.key_position or 0)
    if field is None or (part.kind == "retyped" and field in keys):
        return  # Gone already; or a key, which is its own name and must survive the way back by itself.
    # A key that the migration made or changed does not find the rows again.
    changed = {p[2] for p in (*added.columns, *added.retyped) if p[:2] == (part.schema, part.relation)}
    if any(f.name in changed for f in keys):
        keys = []
    condition = field.written if part.kind == "column" else sql.SQL("true")
    _keep(connection, migration, key, part, [*keys, field] if keys else fields, condition, keys)


def _keep(
    connection: Connection, migration: str, key: str, part: _Part, fields: Sequence[Field],
    condition: sql.Composable, keys: Sequence[Field] | None = None,
) -> None:  # fmt: skip
    table = sql.Identifier(part.schema, part.relation)
    question = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {} WHERE {})")
    if not fields or not one(connection, question.format(table, condition)):
        return
    if not _registry(connection):
        connection.execute(_REGISTRY)
    if keys is None:
        keys = [f for f in fields if f.key_position is not None]
    number = one(
        connection,
        "INSERT INTO lastgood.kept "
        '(migration, kind, "schema", relation, "column", kept_in, key, rows, kept_by) '
        "VALUES (%s, %s, %s, %s, %s, '', %s, 0, %s) RETURNING id",
        migration, part.kind, part.schema, part.relation, part.column, [f.name for f in keys], key,
    )  # fmt: skip
    name = f"kept_{number}"
    columns: list[sql.Composable] = [f.kept for f in fields]
    if part.kind == "retyped":
        columns += [sql.SQL("NULL::text AS lastgood_was"), sql.SQL("false AS lastgood_untouched")]
    made = connection.execute(
        sql.SQL("CREATE TABLE {} AS SELECT {} FROM ONLY {} WHERE {}").format(
            sql.Identifier("lastgood", name), sql.SQL(", ").join(columns), table, condition
        )
    )
    connection.execute(
        "UPDATE lastgood.kept SET kept_in = %s, rows = %s WHERE id = %s", (name, made.rowcount, number)
    )


def _try(connection: Connection, kept: Kept) -> int | None:
    """Rows that came back; None when it can't be."""
    connection.execute("SAVEPOINT lastgood_back")
    try:
        contents.whole_rows(connection)
        fields = {f.name: f for f in read_fields(connection, kept.schema, kept.relation)}
        # Triggers of the table find what they name as in any other session.
        connection.execute("RESET search_path")
        rows = (
            _insert(connection, kept, fields) if kept.kind == "table" else _update(connection, kept, fields)
        )
    except psycopg.OperationalError:
        raise
    except psycopg.Error:
        connection.execute("ROLLBACK TO SAVEPOINT lastgood_back")
        rows = None
    connection.execute("RELEASE SAVEPOINT lastgood_back")
    reset(connection)
    return rows


def _update(connection: Connection, kept: Kept, fields: Mapping[str, Field]) -> int | None:
    field = fields.get(kept.column or "")
    if field is None or field.generated or not kept.key or not set(kept.key) <= fields.keys():
        return None
    condition = field.untouched
    if kept.kind == "retyped":
        condition = sql.SQL("k.lastgood_untouched AND t.{0}::text IS DISTINCT FROM k.{0}::text").format(
            field.identifier
        )
    question = sql.SQL("UPDATE ONLY {} t SET {} = {} FROM {} k WHERE {} AND {}").format(
        kept.table, field.identifier, field.back, kept.store, _matching(kept, fields), condition
    )
    rows = connection.execute(question).rowcount
    if kept.kind == "retyped":
        # Those that the way back did not change count as well: they are there again.
        there = sql.SQL("SELECT count(*) FROM ONLY {} t, {} k WHERE {} AND k.lastgood_untouched").format(
            kept.table, kept.store, _matching(kept, fields)
        )
        return int(one(connection, there))
    return rows


def _insert(connection: Connection, kept: Kept, fields: Mapping[str, Field]) -> int | None:
    if not fields:
        return None
    if not kept.key and one(connection, sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(kept.table)):
        return None  # Without a key nothing tells which of the rows are there already.
    stored = {f.name for f in read_fields(connection, "lastgood", kept.kept_in)}
    common = [f for f in fields.values() if f.name in stored and not f.generated]
    question = sql.SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} k ON CONFLICT DO NOTHING"
    ).format(
        kept.table,
        sql.SQL(", ").join(f.identifier for f in common),
        sql.SQL(", ").join(f.back for f in common),
        kept.store,
    )
    rows = connection.execute(question).rowcount
    for field in common:
        sequence = one(connection, "SELECT pg_get_serial_sequence(%s, %s)", _regclass(kept), field.name)
        if sequence is not None:
            connection.execute(
                sql.SQL(
                    "SELECT setval({0}, max({1})) FROM {2} HAVING max({1}) >= (SELECT last_value FROM {3})"
                ).format(sql.Literal(sequence), field.identifier, kept.table, sql.SQL(sequence))
            )
    return rows


def _pending(connection: Connection, migration: str, key: str = "") -> tuple[Kept, ...]:
    """Newest first: of two values for one place the later one wins."""
    if not _registry(connection):
        return ()
    rows = connection.execute(
        'SELECT id, kind, "schema", relation, "column", kept_in, key FROM lastgood.kept '
        "WHERE migration = %s AND returned_at IS NULL AND %s IN ('', kept_by) ORDER BY id DESC",
        (migration, key),
    )
    return tuple(Kept(*row) for row in rows)


def _matching(kept: Kept, fields: Mapping[str, Field]) -> sql.Composable:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("t", name), fields[name].back) for name in kept.key
    )


def _lock(connection: Connection, tables: Sequence[tuple[Any, ...]]) -> None:
    there = [
        sql.Identifier(*t)
        for t in sorted(set(tables))
        if one(connection, "SELECT to_regclass(%s) IS NOT NULL", sql.Identifier(*t).as_string(connection))
    ]
    for table in there:
        connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE").format(table))


def _registry(connection: Connection) -> bool:
    return bool(one(connection, "SELECT to_regclass('lastgood.kept') IS NOT NULL"))


def reset(connection: Connection) -> None:
    """The settings of ``contents.whole_rows`` as in a new session; others, such as guards, stay."""
    for name in (*_SETTINGS, "search_path"):
        connection.execute(sql.SQL("RESET {}").format(sql.SQL(name)))


def _regclass(kept: Kept) -> str:
    return kept.table.as_string()


def _place(schema: str, relation: str, column: str | None) -> str:
    """``public`` goes without saying."""
    return place("" if schema == "public" else schema, relation, column)
