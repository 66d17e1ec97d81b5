"""Rows are carried as they are: the copy's own triggers, rules and numbering stand aside, and foreign keys
speak at the end. All of it by an owner's rights, and undone in the same transaction.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from psycopg import sql

from lastgood.drivers.postgresql.connection import Connection
from lastgood.drivers.postgresql.shapes import Shapes

# Of partitions, too: the topmost table's triggers are theirs by copies of their own.
_FAMILY = """
WITH family AS (
    SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid::bigint = ANY(%(oids)s)
       OR c.relispartition AND pg_partition_root(c.oid)::oid::bigint = ANY(%(oids)s))
"""
_TRIGGERS = (
    _FAMILY
    + """
SELECT f.nspname, f.relname, 'TRIGGER', t.tgname, t.tgenabled FROM family f
JOIN pg_trigger t ON t.tgrelid = f.oid WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgparentid = 0
UNION ALL
SELECT f.nspname, f.relname, 'RULE', r.rulename, r.ev_enabled FROM family f
JOIN pg_rewrite r ON r.ev_class = f.oid WHERE r.ev_enabled <> 'D'
"""
)
_NUMBERED = (
    _FAMILY
    + """
SELECT f.nspname, f.relname, a.attname FROM family f JOIN pg_attribute a ON a.attrelid = f.oid
WHERE a.attidentity = 'a' AND NOT a.attisdropped AND f.oid::bigint = ANY(%(oids)s)
"""
)
_ENABLE = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


@contextlib.contextmanager
def loosened(connection: Connection, shapes: Shapes, oids: Collection[int]) -> Iterator[None]:
    """For the tables ``oids`` and the foreign keys that touch them. Raises psycopg.Error."""
    change = list(_changes(connection, shapes, oids))
    for there, _ in change:
        connection.execute(there)
    yield
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for _, back in reversed(change):
        connection.execute(back)


def _changes(
    connection: Connection, shapes: Shapes, oids: Collection[int]
) -> Iterator[tuple[sql.Composed, sql.Composed]]:
    """Statements, each with the one that undoes it."""
    alter = sql.SQL("ALTER TABLE {} {}")
    parameters = {"oids": list(oids)}
    for schema, name, kind, what, enabled in connection.execute(_TRIGGERS, parameters).fetchall():
        words = (
            sql.SQL(w + " " + kind + " {}").format(sql.Identifier(what))
            for w in ("DISABLE", _ENABLE[enabled])
        )
        table = sql.Identifier(schema, name)
        yield alter.format(table, next(words)), alter.format(table, next(words))
    for schema, name, column in connection.execute(_NUMBERED, parameters).fetchall():
        table = sql.Identifier(schema, name)
        words = (
            sql.SQL("ALTER {} SET GENERATED {}").format(sql.Identifier(column), sql.SQL(w))
            for w in ("BY DEFAULT", "ALWAYS")
        )
        yield alter.format(table, next(words)), alter.format(table, next(words))
    for reference in shapes.touching(oids):
        child = shapes.tables[reference.child].identifier
        now = "NOT DEFERRABLE"
        if reference.deferrable:
            now = "DEFERRABLE INITIALLY " + ("DEFERRED" if reference.deferred else "IMMEDIATE")
        if not reference.deferred:
            words = (
                sql.SQL("ALTER CONSTRAINT {} {}").format(sql.Identifier(reference.name), sql.SQL(w))
                for w in ("DEFERRABLE INITIALLY DEFERRED", now)
            )
            yield alter.format(child, next(words)), alter.format(child, next(words))
