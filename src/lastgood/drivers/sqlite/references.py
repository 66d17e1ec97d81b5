"""Foreign keys between tables, and rows that break them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lastgood.drivers.sqlite.connection import Connection, quoted, rows
from lastgood.drivers.sqlite.merging import Value
from lastgood.drivers.sqlite.shapes import Table

Key = tuple[Value, ...]


@dataclass(frozen=True)
class Reference:
    """``columns`` of ``child`` name a row of ``parent`` by its ``named``."""

    child: Table
    columns: tuple[str, ...]
    parent: Table
    named: tuple[str, ...]

    def broken(self, connection: Connection, now: Mapping[str, Table]) -> list[Key]:
        """Keys of children whose parent is not there; not those that were so at the cut or are in ``now``,
        because the shop does without foreign keys.
        """
        keys = ", ".join(f"c.{quoted(column)}" for column in self.child.key)
        condition = self._orphan("main", "c")
        for schema in ("cut", "now"):
            if schema == "now" and not self._in(now):
                continue
            same = " AND ".join(
                f"x.{quoted(column)} IS c.{quoted(column)}" for column in (*self.child.key, *self.columns)
            )
            condition += (
                f" AND NOT EXISTS (SELECT 1 FROM {schema}.{quoted(self.child.name)} AS x "
                f"WHERE {same} AND {self._orphan(schema, 'x')})"
            )
        return rows(connection, f"SELECT {keys} FROM main.{quoted(self.child.name)} AS c WHERE {condition}")

    def parents(self, connection: Connection, key: Key) -> Iterator[Key]:
        """Rows that were at the cut what the child ``key`` refers to."""
        match = " AND ".join(
            f"p.{quoted(there)} = c.{quoted(here)}"
            for here, there in zip(self.columns, self.named, strict=True)
        )
        of = " AND ".join(f"c.{quoted(column)} IS ?" for column in self.child.key)
        keys = ", ".join(f"p.{quoted(column)}" for column in self.parent.key)
        yield from connection.execute(
            f"SELECT {keys} FROM cut.{quoted(self.parent.name)} AS p "
            f"JOIN main.{quoted(self.child.name)} AS c ON {match} WHERE {of}",
            key,
        ).fetchall()

    def _orphan(self, schema: str, alias: str) -> str:
        given = " AND ".join(f"{alias}.{quoted(column)} IS NOT NULL" for column in self.columns)
        match = " AND ".join(
            f"p.{quoted(there)} = {alias}.{quoted(here)}"
            for here, there in zip(self.columns, self.named, strict=True)
        )
        return (
            f"{given} AND NOT EXISTS (SELECT 1 FROM {schema}.{quoted(self.parent.name)} AS p WHERE {match})"
        )

    def _in(self, tables: Mapping[str, Table]) -> bool:
        child, parent = tables.get(self.child.name), tables.get(self.parent.name)
        return (
            child is not None
            and parent is not None
            and {*self.child.key, *self.columns} <= set(child.names)
            and set(self.named) <= set(parent.names)
        )


def read_references(
    connection: Connection, tables: Mapping[str, Table], schema: str = "main"
) -> Sequence[Reference]:
    """Those between ``tables``, as the library would find their columns."""
    found: list[Reference] = []
    by_name = {name.lower(): table for name, table in tables.items()}
    for table in tables.values():
        parts: dict[int, list[tuple[str, str, str | None]]] = {}
        for number, _, parent, here, there, *_ in rows(
            connection, f"PRAGMA {schema}.foreign_key_list({quoted(table.name)})"
        ):
            parts.setdefault(number, []).append((parent, here, there))
        for columns in parts.values():
            to = by_name.get(columns[0][0].lower())
            if to is None:
                continue
            named = tuple(there for _, _, there in columns if there is not None) or to.key
            if len(named) == len(columns):
                found.append(Reference(table, tuple(here for _, here, _ in columns), to, named))
    return found
