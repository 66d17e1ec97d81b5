"""The tables of a database as they are, so that two states of it can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from lastgood.drivers.sqlite.connection import PREFIX, Connection, quoted, rows
from lastgood.drivers.sqlite.scan import plain, tokens

_ROWID = ("rowid", "_rowid_", "oid")
"""What the number that each row has may be called: the first that is no column."""
_WORDS = frozenset({"null", "true", "false", "current_time", "current_date", "current_timestamp"})
"""Defaults that are no text, though they have no quotes."""


@dataclass(frozen=True)
class Column:
    """``default`` is the expression, None for none; ``key``: its place in the primary key, from 1, or 0."""

    name: str
    type: str
    default: str | None
    strict: bool
    key: int


@dataclass(frozen=True)
class Table:
    """``columns``: those that hold values of their own. ``root``: its first page, which a rename does not
    change. ``numbered``: the key is the number that each row has, under a name of its own. ``collations``: by
    which columns of another key are the same.
    """

    name: str
    root: int
    columns: tuple[Column, ...]
    without_rowid: bool
    numbered: bool
    collations: tuple[tuple[str, str], ...]

    @cached_property
    def key(self) -> tuple[str, ...]:
        """What tells its rows apart: the primary key, or the number that each row has."""
        found = sorted((c for c in self.columns if c.key), key=lambda column: column.key)
        return tuple(c.name for c in found) or (self._rowid,)

    @cached_property
    def keyless(self) -> bool:
        return not any(c.key for c in self.columns)

    @property
    def present(self) -> str:
        """A column that no row has as NULL."""
        return self.key[0] if self.without_rowid else self._rowid

    @property
    def nullable(self) -> tuple[str, ...]:
        """Columns of the key that the library lets be NULL."""
        if self.without_rowid or self.keyless or self.numbered:
            return ()
        return tuple(c.name for c in self.columns if c.key and not c.strict)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the columns, after the number of the row where that is the key."""
        return (*(self.key if self.keyless else ()), *(c.name for c in self.columns))

    @property
    def _rowid(self) -> str:
        taken = {c.name.lower() for c in self.columns}
        return next(name for name in _ROWID if name not in taken)


def read_tables(connection: Connection, schema: str = "main") -> Mapping[str, Table]:
    """Ordinary ones, but none of ours nor the library's."""
    roots = dict(rows(connection, f"SELECT name, rootpage FROM {schema}.sqlite_schema WHERE type = 'table'"))
    found: dict[str, Table] = {}
    for name, without_rowid in rows(
        connection,
        "SELECT name, wr FROM pragma_table_list WHERE schema = ? AND type = 'table' ORDER BY name",
        schema,
    ):
        if name.startswith((PREFIX, "sqlite_")) or name not in roots:
            continue
        columns = tuple(
            Column(column, kind, default and _expression(default), bool(strict), key)
            for _, column, kind, strict, default, key, hidden in rows(
                connection, f"PRAGMA {schema}.table_xinfo({quoted(name)})"
            )
            if not hidden
        )
        key = _key_index(connection, schema, name)
        numbered = key is None and any(c.key for c in columns)
        collations = _collations(connection, schema, key) if key else ()
        found[name] = Table(name, roots[name], columns, bool(without_rowid), numbered, collations)
    return found


def _key_index(connection: Connection, schema: str, table: str) -> str | None:
    """Which makes a primary key one: none where that is the number of the row."""
    for _, index, _, origin, _ in rows(connection, f"PRAGMA {schema}.index_list({quoted(table)})"):
        if origin == "pk":
            return str(index)
    return None


def _collations(connection: Connection, schema: str, index: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (str(column), str(collation))
        for _, _, column, _, collation, key in rows(
            connection, f"PRAGMA {schema}.index_xinfo({quoted(index)})"
        )
        if key
    )


def _expression(default: str) -> str:
    """A name as a default is a text, which anywhere else could be a column."""
    found = tokens(default, "")
    if len(found) != 1 or found[0].kind not in ("word", "name") or default.lower() in _WORDS:
        return default
    return "'" + plain(found[0]).replace("'", "''") + "'"
