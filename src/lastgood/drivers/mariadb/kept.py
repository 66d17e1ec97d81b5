"""What is put aside, where it lies, and what SQL says of the columns it came from.

In the live database itself, in tables whose names begin with lastgood's own prefix: the smallest role owns
nothing else, and a lock has to be held over them and the table that loses the values at the same time. No
fingerprint, no comparison of rows and no restore looks at such tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lastgood.drivers.mariadb.connection import PREFIX, Connection, quoted, rows, run
from lastgood.drivers.mariadb.revisions import exists
from lastgood.sql.aside import place

REGISTRY = f"{PREFIX}kept"
COLUMN, TABLE, RETYPED = "column", "table", "retyped"
WAS = f"{PREFIX}was"
"""What the revert itself made of the value, or a digest of the row."""

_CREATE = f"""
CREATE TABLE IF NOT EXISTS {REGISTRY} (
    id bigint unsigned AUTO_INCREMENT PRIMARY KEY,
    migration varchar(255) NOT NULL,
    kind varchar(10) NOT NULL,
    relation varchar(64) NOT NULL,
    `column` varchar(64) NOT NULL,
    kept_in varchar(64) NOT NULL,
    `key` text NOT NULL,
    `rows` bigint,
    kept_by text NOT NULL,
    kept_at datetime(6),
    returned bigint,
    returned_by text,
    returned_at datetime(6)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
COMMENT 'What reverts put aside; rows NULL: a revert is at it'
"""
_COLUMNS = """
SELECT c.COLUMN_NAME, c.COLUMN_TYPE, c.DATA_TYPE, c.CHARACTER_SET_NAME, c.COLLATION_NAME,
       c.IS_NULLABLE = 'YES', c.COLUMN_DEFAULT, c.EXTRA LIKE '%%GENERATED%%', s.SEQ_IN_INDEX, s.SUB_PART
FROM information_schema.COLUMNS c LEFT JOIN information_schema.STATISTICS s
  ON s.TABLE_SCHEMA = c.TABLE_SCHEMA AND s.TABLE_NAME = c.TABLE_NAME AND s.COLUMN_NAME = c.COLUMN_NAME
     AND s.INDEX_NAME = 'PRIMARY'
WHERE c.TABLE_SCHEMA = DATABASE() AND c.TABLE_NAME = %s ORDER BY c.ORDINAL_POSITION
"""
_GEOMETRIES = frozenset({
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection",
})  # fmt: skip
"""The server casts these to nothing."""
_LITERAL = re.compile(r"-?\d+(\.\d+)?|'(?:[^'\\]|\\.|'')*'", re.DOTALL)


@dataclass(frozen=True)
class Field:
    """A column; ``default`` as the server writes it, None: none. ``position`` in the key, from 1."""

    name: str
    type: str
    kind: str
    charset: str | None
    collation: str | None
    nullable: bool
    default: str | None
    generated: bool
    position: int | None
    part: int | None

    def definition(self) -> str:
        """The same type, and nothing else of it."""
        collated = f" CHARACTER SET {self.charset} COLLATE {self.collation}" if self.collation else ""
        return f"{quoted(self.name)} {self.type}{collated} {'NOT NULL' if self.position else 'NULL'}"

    def of(self, table: str) -> str:
        return f"{quoted(table)}.{quoted(self.name)}"

    def bytes_of(self, table: str) -> str:
        """The value to the last bit: collations take texts for equal that are not."""
        if self.kind in _GEOMETRIES:
            return f"HEX({self.of(table)})"
        return _bytes(self.of(table), self.charset)

    def written(self, table: str) -> str:
        """Somebody put a value in: neither NULL nor what ADD COLUMN filled in. Not known is yes."""
        if self._literal is not None:
            return f"{self.of(table)} IS NOT NULL AND NOT {self._filled(table)}"
        return f"{self.of(table)} IS NOT NULL" if self._empty else "TRUE"

    def untouched(self, table: str) -> str:
        """Nobody but ADD COLUMN put the value in."""
        if self._literal is not None:
            return f"({self.of(table)} IS NULL OR {self._filled(table)})"
        return f"{self.of(table)} IS NULL" if self._empty else "TRUE"

    @property
    def _empty(self) -> bool:
        return self.nullable and self.default in (None, "NULL")

    @property
    def _literal(self) -> str | None:
        return self.default if self.default and _LITERAL.fullmatch(self.default) else None

    def _filled(self, table: str) -> str:
        if self.charset:
            return f"{self.bytes_of(table)} <=> {_bytes(str(self._literal), self.charset)}"
        return f"{self.of(table)} <=> {self._literal}"


def _bytes(value: str, charset: str | None) -> str:
    return f"CAST({f'CONVERT({value} USING utf8mb4)' if charset else value} AS BINARY)"


@dataclass(frozen=True)
class Kept:
    """A row of the registry: values of ``column`` of ``relation`` (empty: whole rows), by ``key``. ``rows``
    is None while a revert is at it.
    """

    id: int
    kind: str
    relation: str
    column: str
    kept_in: str
    key: tuple[str, ...]
    rows: int | None

    @property
    def place(self) -> str:
        return place(self.relation, self.column)


def read_fields(connection: Connection, table: str) -> dict[str, Field]:
    """In order; none when there is no such table."""
    found = (Field(*row) for row in rows(connection, _COLUMNS, table))
    return {field.name: field for field in found}


def key_of(fields: Mapping[str, Field]) -> tuple[str, ...]:
    """Names of the primary key's columns, in its order; empty when a column of it is computed."""
    parts = sorted((f.position, f) for f in fields.values() if f.position is not None)
    return () if any(f.generated for _, f in parts) else tuple(f.name for _, f in parts)


def prepare(connection: Connection) -> None:
    if not exists(connection, REGISTRY):
        run(connection, _CREATE)


def pending(connection: Connection, migration: str, *, settled: bool) -> list[Kept]:
    """What has not come back, newest first: of two values for one place the later one wins. Not ``settled``:
    what a revert is at.
    """
    if not exists(connection, REGISTRY):
        return []
    found = rows(
        connection,
        f"SELECT id, kind, relation, `column`, kept_in, `key`, `rows` FROM {REGISTRY} "
        f"WHERE migration = %s AND returned_at IS NULL AND `rows` IS {'NOT ' if settled else ''}NULL "
        "ORDER BY id DESC",
        migration,
    )
    return [
        Kept(number, kind, relation, column, kept_in, tuple(json.loads(key)), count)
        for number, kind, relation, column, kept_in, key, count in found
    ]


def begin(
    connection: Connection, migration: str, kind: str, relation: str, column: str, key: Sequence[str],
    fields: Iterable[Field],
) -> Kept:  # fmt: skip
    """A new one, with an empty table for it."""
    run(
        connection,
        f"INSERT INTO {REGISTRY} (migration, kind, relation, `column`, kept_in, `key`, kept_by) "
        "VALUES (%s, %s, %s, %s, '', %s, '')",
        migration, kind, relation, column, json.dumps(list(key)),
    )  # fmt: skip
    number = int(rows(connection, "SELECT LAST_INSERT_ID()")[0][0])
    name = f"{REGISTRY}_{number}"
    by_name = {f.name: f for f in fields}
    columns = [f.definition() for f in by_name.values()]
    if key:
        columns.append(f"{quoted(WAS)} longblob NULL")
        parts = [quoted(n) + (f"({by_name[n].part})" if by_name[n].part else "") for n in key]
        columns.append(f"PRIMARY KEY ({', '.join(parts)})")
    run(connection, f"CREATE TABLE IF NOT EXISTS {quoted(name)} ({', '.join(columns)}) ENGINE=InnoDB")
    # Named once the table is there: without a name there is nothing to go on with.
    run(connection, f"UPDATE {REGISTRY} SET kept_in = %s WHERE id = %s", name, number)
    return Kept(number, kind, relation, column, name, tuple(key), None)


def report(connection: Connection, side: str, migration: str, key: str) -> dict[str, int]:
    """Rows by place that the step ``key`` put aside (``kept_by``) or brought back (``returned_by``)."""
    if not exists(connection, REGISTRY):
        return {}
    number = "`rows`" if side == "kept_by" else "returned"
    counted: dict[str, int] = {}
    for relation, column, there in rows(
        connection,
        f"SELECT relation, `column`, {number} FROM {REGISTRY} WHERE migration = %s AND {side} = %s "
        f"AND {number} IS NOT NULL ORDER BY id",
        migration, key,
    ):  # fmt: skip
        name = place(relation, column)
        counted[name] = counted.get(name, 0) + int(there)
    return counted


def sweep(connection: Connection) -> None:
    """Drop tables that nothing in the registry names: a revert left in place what they are of."""
    if not exists(connection, REGISTRY):
        return
    named = {str(name) for (name,) in rows(connection, f"SELECT kept_in FROM {REGISTRY}")}
    pattern = re.compile(rf"{REGISTRY}_\d+")
    found = (str(name) for (name,) in rows(connection, "SHOW TABLES"))
    for name in found:
        if pattern.fullmatch(name) and name not in named:
            run(connection, f"DROP TABLE IF EXISTS {quoted(name)}")
