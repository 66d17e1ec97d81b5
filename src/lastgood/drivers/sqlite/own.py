"""What a migration of ours does to each row, noted in its own transaction while a capture is open.

The state before is a copy of the file, made while nobody else can write. Before the commit both are compared,
and each row that is not as it was is kept with its values before and after. So nothing is watched while the
script runs, and whatever it does, drop a column, make a table anew, counts. Only which row is which is not
always told by its key; then the table's rows are *in doubt*: a later change of such a row is not merged.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lastgood.drivers.sqlite import copying
from lastgood.drivers.sqlite.compare import differs, matching, missing
from lastgood.drivers.sqlite.connection import PREFIX, Connection, Store, exists, one, quoted, rows
from lastgood.drivers.sqlite.scratch import scratch
from lastgood.drivers.sqlite.shapes import Table, read_tables

CAPTURES, REGISTRY = f"{PREFIX}captures", f"{PREFIX}own"
BEFORE = f"{PREFIX}before"
"""The schema as which the copy of the state before is attached."""

_CREATE = (
    f"CREATE TABLE IF NOT EXISTS {CAPTURES} (snapshot TEXT PRIMARY KEY NOT NULL, opened_at TEXT NOT NULL)",
    f"""CREATE TABLE IF NOT EXISTS {REGISTRY} (
    id INTEGER PRIMARY KEY AUTOINCREMENT, migration TEXT NOT NULL, relation TEXT NOT NULL,
    kept_in TEXT NOT NULL, key TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
    doubt INTEGER NOT NULL
)""",
)


@dataclass(frozen=True)
class Own:
    """Rows of ``relation`` that a migration changed, in the table ``kept_in``: its columns are k0 …
    (``key``), b (whether the row was there before) and b0 … (``before``), a and a0 … (``after``).
    """

    id: int
    relation: str
    kept_in: str
    key: Sequence[str]
    before: Sequence[str]
    after: Sequence[str]
    doubt: bool

    @property
    def columns(self) -> str:
        """In the order in which ``SELECT *`` gives them."""
        keys = [f"k{at}" for at in range(len(self.key))]
        was = [f"b{at}" for at in range(len(self.before))]
        now = [f"a{at}" for at in range(len(self.after))]
        return ", ".join((*keys, "b", *was, "a", *now))


def prepare(connection: Connection) -> None:
    for statement in _CREATE:
        connection.execute(statement)


def captures(connection: Connection, schema: str = "main") -> tuple[str, ...]:
    """Ids of the snapshots with which captures are open."""
    known = one(connection, f"SELECT 1 FROM {schema}.sqlite_schema WHERE name = ?", CAPTURES)
    return (
        tuple(str(i) for (i,) in rows(connection, f"SELECT snapshot FROM {schema}.{CAPTURES}"))
        if known
        else ()
    )


def noted(connection: Connection, schema: str, after: int = 0) -> tuple[Own, ...]:
    """What was noted since the record ``after``, oldest first."""
    if one(connection, f"SELECT 1 FROM {schema}.sqlite_schema WHERE name = ?", REGISTRY) is None:
        return ()
    return tuple(
        Own(id_, relation, kept_in, json.loads(key), json.loads(before), json.loads(now), bool(doubt))
        for id_, relation, kept_in, key, before, now, doubt in rows(
            connection,
            f"SELECT id, relation, kept_in, key, before, after, doubt FROM {schema}.{REGISTRY} "
            "WHERE id > ? ORDER BY id",
            after,
        )
    )


def newest(connection: Connection) -> int:
    """The number of the last record, 0 when there was none."""
    if not exists(connection, REGISTRY):
        return 0
    return int(
        one(connection, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?", REGISTRY) or 0
    )


def forget(connection: Connection, until: int) -> None:
    """Records up to this number."""
    for own in noted(connection, "main"):
        if own.id <= until:
            connection.execute(f"DROP TABLE {own.kept_in}")
            connection.execute(f"DELETE FROM {REGISTRY} WHERE id = ?", (own.id,))


def end(connection: Connection, snapshots: Sequence[str]) -> None:
    """Captures with these; nothing of ours is left with the last one."""
    if not exists(connection, CAPTURES):
        return
    connection.executemany(f"DELETE FROM {CAPTURES} WHERE snapshot = ?", [(i,) for i in snapshots])
    if not captures(connection):
        forget(connection, newest(connection))
        connection.execute(f"DROP TABLE {CAPTURES}")
        connection.execute(f"DROP TABLE IF EXISTS {REGISTRY}")


@dataclass
class _Watch:
    """What the library is about to do to tables, as it says when it prepares a statement."""

    keys: set[str] = field(default_factory=set)
    inserted: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    keys_of: dict[str, frozenset[str]] = field(default_factory=dict)

    def __call__(
        self, act: int, table: str | None, column: str | None, schema: str | None, _: str | None
    ) -> int:
        if table is not None:
            if act == sqlite3.SQLITE_INSERT:
                self.inserted.add(table)
            elif act == sqlite3.SQLITE_DELETE:
                self.deleted.add(table)
            elif act == sqlite3.SQLITE_UPDATE and column in self.keys_of.get(table, frozenset()):
                self.keys.add(table)
        return sqlite3.SQLITE_OK


@dataclass(frozen=True)
class Recorder:
    """Notes what migrations do in the database of ``store``; ``directory`` is for the copies meanwhile."""

    store: Store
    directory: Path

    @contextlib.contextmanager
    def noting(self, connection: Connection, migration: str, replaces: bool) -> Iterator[None]:
        """In the migration's transaction, before it did anything. ``replaces``: the script uses REPLACE,
        which takes rows away without a word.
        """
        if not captures(connection):
            yield
            return
        with scratch(self.directory) as folder:
            path = folder / "before.db"
            with self.store.session() as reader:
                copying.whole(reader, path)
            watch = _Watch(keys_of={n: frozenset(t.key) for n, t in read_tables(connection).items()})
            connection.set_authorizer(watch)
            try:
                yield
            finally:
                connection.set_authorizer(None)
            # Only now: a script would find in it what it has dropped.
            connection.execute(f"ATTACH ? AS {BEFORE}", (str(path),))
            _note(connection, migration, watch, replaces)


def _note(connection: Connection, migration: str, watch: _Watch, replaces: bool) -> None:
    before, after = read_tables(connection, BEFORE), read_tables(connection)
    prepare(connection)
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        doubt = (
            name in watch.keys
            or (name in watch.inserted and (name in watch.deleted or replaces))
            or (was is not None and (was.keyless or (now is not None and was.root != now.root)))
        )
        _compare(connection, migration, name, was, now, doubt)


def _compare(
    connection: Connection, migration: str, name: str, was: Table | None, now: Table | None, doubt: bool
) -> None:
    table = was or now
    assert table is not None, "it is in one of the two"
    same = was is not None and now is not None and set(was.key) <= set(now.names)
    number = newest(connection) + 1
    kept_in = f"{REGISTRY}_{number}"
    own = Own(number, name, kept_in, table.key, was.names if was else (), now.names if now else (), doubt)
    connection.execute(f"CREATE TABLE {kept_in} ({own.columns})")
    made = 0
    if was is not None:
        made += _insert(connection, own, was, now if same else None)
    if now is not None and (same or was is None):
        made += _insert_new(connection, own, table, now, was)
    if not made:
        connection.execute(f"DROP TABLE {kept_in}")
        return
    connection.execute(
        f"INSERT INTO {REGISTRY} (id, migration, relation, kept_in, key, before, after, doubt) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number, migration, name, kept_in, json.dumps(own.key), json.dumps(own.before),
            json.dumps(own.after), int(doubt),
        ),
    )  # fmt: skip


def _insert(connection: Connection, own: Own, was: Table, now: Table | None) -> int:
    """Rows that were there and are not any more, or are not alike."""
    keys, values = _picked("b", was.key), _picked("b", own.before)
    source = f"{BEFORE}.{quoted(was.name)} AS b"
    if now is None:
        nothing = ["NULL"] * len(own.after)
        picked = ", ".join((*keys, "1", *values, "0", *nothing))
        return connection.execute(f"INSERT INTO {own.kept_in} SELECT {picked} FROM {source}").rowcount
    lost = set(own.before) - set(own.after)
    filled = [_filled(now, name) for name in own.after if name not in own.before]
    alike = differs([n for n in own.before if n in own.after], "b", "a")
    condition = "true" if lost else f"{missing(now, 'a')} OR {' OR '.join((alike, *filled))}"
    there = f"NOT ({missing(now, 'a')})"
    picked = ", ".join((*keys, "1", *values, there, *_picked("a", own.after)))
    return connection.execute(
        f"INSERT INTO {own.kept_in} SELECT {picked} FROM {source} LEFT JOIN main.{quoted(now.name)} AS a "
        f"ON {matching(was, 'a', 'b')} WHERE {condition}"
    ).rowcount


def _insert_new(connection: Connection, own: Own, table: Table, now: Table, was: Table | None) -> int:
    """Rows that were not there."""
    nothing = ["NULL"] * len(own.before)
    picked = ", ".join((*_picked("a", table.key), "0", *nothing, "1", *_picked("a", own.after)))
    query = f"INSERT INTO {own.kept_in} SELECT {picked} FROM main.{quoted(now.name)} AS a"
    if was is not None:
        query += (
            f" LEFT JOIN {BEFORE}.{quoted(was.name)} AS b ON {matching(was, 'b', 'a')} "
            f"WHERE {missing(was, 'b')}"
        )
    return connection.execute(query).rowcount


def _filled(table: Table, column: str) -> str:
    """That a new column has another value than a row that was there gets."""
    default = next((c.default for c in table.columns if c.name == column), None)
    return f"(a.{quoted(column)} IS NOT {'NULL' if default is None else f'({default})'})"


def _picked(alias: str, columns: Sequence[str]) -> list[str]:
    return [f"{alias}.{quoted(column)}" for column in columns]
