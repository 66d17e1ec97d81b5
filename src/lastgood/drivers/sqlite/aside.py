"""What a revert would lose is put aside in the same transaction, and comes back with its migration.

Kept is what was written into the columns and tables that a migration added: by primary key, or else by the
number of the row and its other values, in tables of ours whose columns have no type, so that each value stays
what it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from lastgood.drivers.sqlite import failures
from lastgood.drivers.sqlite.connection import PREFIX, Connection, exists, one, quoted, rows
from lastgood.drivers.sqlite.orphans import orphans
from lastgood.drivers.sqlite.shapes import Table, read_tables

REGISTRY = f"{PREFIX}kept"

_REGISTRY = f"""
CREATE TABLE IF NOT EXISTS {REGISTRY} (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    migration TEXT NOT NULL,
    relation TEXT NOT NULL,
    "column" TEXT,
    kept_in TEXT NOT NULL,
    key TEXT NOT NULL,
    columns TEXT NOT NULL,
    rows INTEGER NOT NULL,
    kept_by TEXT NOT NULL,
    kept_at TEXT NOT NULL,
    returned INTEGER,
    returned_by TEXT,
    returned_at TEXT
)
"""


@dataclass(frozen=True)
class Added:
    """What a migration added: names of tables, and (table, column)."""

    tables: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()

    @classmethod
    def between(cls, before: Mapping[str, Table], after: Mapping[str, Table], *, renames: bool) -> Added:
        """What only got another name is nothing added; without ``renames`` no column did."""
        gone = {
            (table.root, tuple(c.name for c in table.columns))
            for name, table in before.items()
            if name not in after
        }
        tables = [
            name
            for name, table in after.items()
            if name not in before and (table.root, tuple(c.name for c in table.columns)) not in gone
        ]
        columns = [
            (name, column)
            for name, table in after.items()
            if name in before
            for column in _new_columns(before[name], table, renames=renames)
        ]
        return cls(tuple(tables), tuple(columns))

    @classmethod
    def load(cls, text: str) -> Added:
        found = json.loads(text)
        return cls(tuple(found["tables"]), tuple((t, c) for t, c in found["columns"]))

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Kept:
    """A row of the registry whose values have not come back. ``columns`` are those of ``kept_in`` by their
    names in ``relation``, in order: there they are called c0, c1 …, the first ones being ``key``.
    """

    id: int
    relation: str
    column: str | None
    kept_in: str
    key: Sequence[str]
    columns: Sequence[str]

    @property
    def place(self) -> str:
        return self.relation if self.column is None else f"{self.relation}.{self.column}"

    @property
    def matching(self) -> str:
        """That a row ``k`` kept here is of the row ``t``."""
        return " AND ".join(f"t.{quoted(name)} IS k.c{at}" for at, name in enumerate(self.key))


def put_aside(connection: Connection, migration: str, key: str, added: Added) -> None:
    """Before revert.sql: keep what is in ``added``; ``settle`` follows. Raises sqlite3.Error."""
    there = read_tables(connection)
    for name in added.tables:
        if name in there:
            _keep(connection, migration, key, there[name], there[name].key, None)
    for name, column in added.columns:
        table = there.get(name)
        if table is not None and column not in table.key and column in table.names:
            # VACUUM, or a table made anew, gives the rows other numbers: by its other values it is the row.
            of = [n for n in table.names if (name, n) not in added.columns] if table.keyless else table.key
            _keep(connection, migration, key, table, of, column)


def settle(connection: Connection, migration: str, key: str) -> Mapping[str, int]:
    """After revert.sql: what it left in place is not kept. The rows that are kept, by place."""
    there = read_tables(connection)
    for kept in _pending(connection, migration, key):
        table = there.get(kept.relation)
        if table is not None and (kept.column is None or kept.column in table.names):
            connection.execute(f"DROP TABLE {kept.kept_in}")
            connection.execute(f"DELETE FROM {REGISTRY} WHERE id = ?", (kept.id,))
    return report(connection, "kept_by", migration, key)


def bring_back(connection: Connection, migration: str, key: str) -> Mapping[str, int]:
    """After deploy.sql: what was put aside returns. Rows by place; what can't return stays kept.

    Raises sqlite3.Error for locks and disks only.
    """
    failed: dict[str, int] = {}
    there = read_tables(connection)
    pending = list(_pending(connection, migration))
    progress = True
    while pending and progress:  # A table may need the rows of another one first.
        progress = False
        for kept in list(pending):
            number = _try(connection, kept, there.get(kept.relation))
            if number is None:
                failed.setdefault(kept.place, 0)
                continue
            progress = True
            failed.pop(kept.place, None)
            pending.remove(kept)
            connection.execute(
                f"UPDATE {REGISTRY} SET returned = ?, returned_by = ?, returned_at = ? WHERE id = ?",
                (number, key, _now(), kept.id),
            )
    return {**failed, **report(connection, "returned_by", migration, key)}


def report(connection: Connection, side: str, migration: str, key: str) -> Mapping[str, int]:
    """Rows by place that the step ``key`` put aside (``kept_by``) or brought back (``returned_by``)."""
    if not exists(connection, REGISTRY):
        return {}
    number = "rows" if side == "kept_by" else "returned"
    counted: dict[str, int] = {}
    for relation, column, found in rows(
        connection,
        f'SELECT relation, "column", {number} FROM {REGISTRY} WHERE migration = ? AND {side} = ? ORDER BY id',
        migration,
        key,
    ):
        place = relation if column is None else f"{relation}.{column}"
        counted[place] = counted.get(place, 0) + found
    return counted


def _new_columns(before: Table, after: Table, *, renames: bool) -> list[str]:
    """One that stands where another one of its type is gone may have got another name."""
    was, now = before.columns, after.columns
    lost = {c.name for c in was} - {c.name for c in now}
    renamed = {
        new.name
        for old, new in zip(was, now, strict=False)
        if renames and old.name in lost and (old.type, old.key) == (new.type, new.key)
    }
    known = {c.name for c in was} | renamed
    return [c.name for c in now if c.name not in known]


def _keep(
    connection: Connection, migration: str, key: str, table: Table, of: Sequence[str], column: str | None
) -> None:
    names = table.names if column is None else (*of, column)
    condition = "true" if column is None else f"{quoted(column)} IS NOT {_default(table, column)}"
    source = quoted(table.name)
    if one(connection, f"SELECT EXISTS (SELECT 1 FROM {source} WHERE {condition})") == 0:
        return
    connection.execute(_REGISTRY)
    number = one(connection, "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = ?", REGISTRY)
    kept_in = f"{REGISTRY}_{number}"
    connection.execute(f"CREATE TABLE {kept_in} ({', '.join(f'c{at}' for at in range(len(names)))})")
    made = connection.execute(
        f"INSERT INTO {kept_in} SELECT {', '.join(map(quoted, names))} FROM {source} WHERE {condition}"
    )
    connection.execute(
        f'INSERT INTO {REGISTRY} (id, migration, relation, "column", kept_in, key, columns, rows, kept_by, '
        "kept_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number, migration, table.name, column, kept_in, json.dumps(of), json.dumps(names),
            made.rowcount, key, _now(),
        ),
    )  # fmt: skip


def _try(connection: Connection, kept: Kept, table: Table | None) -> int | None:
    """Rows that came back; None when it can't be."""
    if table is None or not {*kept.key, kept.column or kept.key[0]} <= set(table.names):
        return None
    connection.execute("SAVEPOINT lastgood_back")
    before = orphans(connection)
    try:
        number: int | None = _insert(connection, kept, table) if kept.column is None else _update(
            connection, kept, table
        )  # fmt: skip
    except sqlite3.Error as error:
        if failures.code(error) not in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR):
            raise
        number = None
    if number is None or orphans(connection) - before:
        connection.execute("ROLLBACK TO lastgood_back")
        number = None
    connection.execute("RELEASE lastgood_back")
    return number


def _update(connection: Connection, kept: Kept, table: Table) -> int:
    """Where nobody wrote something else since."""
    column = kept.column or ""
    return connection.execute(
        f"UPDATE {quoted(kept.relation)} AS t SET {quoted(column)} = k.c{len(kept.key)} "
        f"FROM {kept.kept_in} AS k WHERE {kept.matching} AND t.{quoted(column)} IS {_default(table, column)}"
    ).rowcount


def _insert(connection: Connection, kept: Kept, table: Table) -> int:
    common = [(at, name) for at, name in enumerate(kept.columns) if name in table.names]
    return connection.execute(
        f"INSERT OR IGNORE INTO {quoted(kept.relation)} ({', '.join(quoted(name) for _, name in common)}) "
        f"SELECT {', '.join(f'c{at}' for at, _ in common)} FROM {kept.kept_in}"
    ).rowcount


def _default(table: Table, column: str) -> str:
    found = next((c.default for c in table.columns if c.name == column), None)
    return "NULL" if found is None else f"({found})"


def _pending(connection: Connection, migration: str, key: str = "") -> Iterable[Kept]:
    """Newest first: of two values for one place the later one wins."""
    if not exists(connection, REGISTRY):
        return
    for id_, relation, column, kept_in, of, columns in rows(
        connection,
        f'SELECT id, relation, "column", kept_in, key, columns FROM {REGISTRY} '
        "WHERE migration = ? AND returned IS NULL AND ? IN ('', kept_by) ORDER BY id DESC",
        migration,
        key,
    ):
        yield Kept(id_, relation, column, kept_in, json.loads(of), json.loads(columns))


def _now() -> str:
    return datetime.now(UTC).isoformat()
