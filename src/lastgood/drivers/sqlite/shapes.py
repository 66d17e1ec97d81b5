"""The tables of a database as they are, so that two states of it can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from lastgood.drivers.sqlite.connection import PREFIX, Connection, quoted, rows

_ROWID = ("rowid", "_rowid_", "oid")
"""What the number that each row has may be called: the first that is no column."""


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
    change.
    """

    name: str
    root: int
    columns: tuple[Column, ...]
    without_rowid: bool

    @cached_property
    def key(self) -> tuple[str, ...]:
        """What tells its rows apart: the primary key, or the number that each row has."""
        found = sorted((c for c in self.columns if c.key), key=lambda column: column.key)
        return tuple(c.name for c in found) or (self._rowid,)

    @cached_property
    def keyless(self) -> bool:
        return not any(c.key for c in self.columns)

    @property
    def numbered(self) -> bool:
        """Whether the key is the number that each row has, under a name of its own."""
        found = [c for c in self.columns if c.key]
        return not self.without_rowid and len(found) == 1 and found[0].type.upper() == "INTEGER"

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
            Column(column, kind, default, bool(strict), key)
            for _, column, kind, strict, default, key, hidden in rows(
                connection, f"PRAGMA {schema}.table_xinfo({quoted(name)})"
            )
            if not hidden
        )
        found[name] = Table(name, roots[name], columns, bool(without_rowid))
    return found
