"""What a revert would lose is put aside before the statement that removes it.

Kept is what was written into the columns, tables and types that a migration added, by primary key. Most of it
is copied while everybody works. What was written meanwhile is added under the lock of the table under which
the statement then runs: the server has no transaction for both, but nobody writes in between. Where rows are
changed before, by a statement of revert.sql, they are kept in the transaction of that statement, and what
comes after it only adds to them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pymysql

from lastgood.drivers.mariadb import kept
from lastgood.drivers.mariadb.connection import Connection, Server, lock_no_source, one, quoted, run
from lastgood.drivers.mariadb.fingerprint import COLUMN, CONSTRAINT, SEQUENCE, TABLE, TRIGGER
from lastgood.drivers.mariadb.kept import RETYPED, WAS, Field, Kept
from lastgood.drivers.mariadb.progress import Owned, Undo
from lastgood.drivers.mariadb.scan import READS, Kind, Statement
from lastgood.drivers.mariadb.types import fits
from lastgood.drivers.mariadb.undo import Lost, called, recreated, target, triggers_of
from lastgood.sql.aside import Added
from lastgood.sql.listing import Listing

_REFILLS = "STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO"
"""The ``sql_mode`` in which a row with the number 0 is that row, and not the next one."""


def added(before: Listing, after: Listing, own: Sequence[Owned], statements: Sequence[Statement]) -> Added:
    """What a migration added that made ``after`` of ``before`` by ``statements``; ``own`` is what it made."""
    made = {(table, column) for table, column in own if (SEQUENCE, table) not in after}
    was = {
        (part.parent, name[len(part.parent) + 1 :]): part
        for (kind, name), part in before.items()
        if kind == COLUMN
    }
    retyped = []
    for old, (table, column) in called(was, statements).items():
        now = after.get((COLUMN, f"{table}.{column}"))
        if now is None or {(table, ""), (table, column)} & made:
            continue
        # Values of the new type that the old one does not hold.
        if not fits(now.definition, was[old].definition):
            retyped.append((table, column))
    return Added(
        tuple(sorted((table,) for table, column in made if not column)),
        tuple(sorted(place for place in made if place[1] and (place[0], "") not in made)),
        tuple(sorted(retyped)),
    )


@dataclass(frozen=True)
class Source:
    """The table that ``kept`` is of, as it is now; ``fields`` by the names that they have in the copy."""

    kept: Kept
    table: str
    fields: Mapping[str, Field]

    @property
    def alias(self) -> str:
        """Of the copy, where a statement has it twice."""
        return f"k{self.kept.id}"

    @property
    def written(self) -> str:
        """Rows that are worth keeping."""
        column = self.kept.column
        return self.fields[column].written(self.table) if self.kept.kind == kept.COLUMN else "TRUE"

    def matches(self, copy: str) -> str:
        return " AND ".join(
            f"{self.fields[name].of(self.table)} = {quoted(copy)}.{quoted(name)}" for name in self.kept.key
        )

    def add(self, connection: Connection, *, sealed: bool) -> None:
        """What the copy lacks, or has otherwise; ``sealed``: what others than the revert wrote since."""
        store, table = quoted(self.kept.kept_in), quoted(self.table)
        names = ", ".join(map(quoted, self.fields))
        values = ", ".join(f.of(self.table) for f in self.fields.values())
        empty = one(connection, f"SELECT 1 FROM {store} LIMIT 1") is None
        if empty or not self.kept.key:
            run(
                connection, f"INSERT INTO {store} ({names}) SELECT {values} FROM {table} WHERE {self.written}"
            )
            return
        others = [name for name in self.fields if name not in self.kept.key]
        first = f"{self.alias}.{quoted(self.kept.key[0])} IS NULL"
        differs = [f"NOT {self._same(name)}" for name in others]
        if sealed:
            differs = [f"NOT ({self._present} <=> {self.alias}.{quoted(WAS)})"]
        updates = ", ".join(
            f"{store}.{quoted(n)} = VALUES({store}.{quoted(n)})" for n in others or self.kept.key
        )
        run(
            connection,
            f"INSERT INTO {store} ({names}) SELECT {values} FROM {table} "
            f"LEFT JOIN {store} AS {self.alias} ON {self.matches(self.alias)} "
            f"WHERE {self.written} AND ({' OR '.join([first, *differs])}) ON DUPLICATE KEY UPDATE {updates}",
        )

    def forget(self, connection: Connection) -> None:
        """What is not there any more."""
        store = quoted(self.kept.kept_in)
        if not self.kept.key:
            run(connection, f"DELETE FROM {store}")
            return
        run(
            connection,
            f"DELETE FROM {store} WHERE NOT EXISTS (SELECT 1 FROM {quoted(self.table)} "
            f"WHERE {self.matches(self.kept.kept_in)} AND {self.written})",
        )

    def seal(self, connection: Connection) -> None:
        """Note what the revert has made of it."""
        store = quoted(self.kept.kept_in)
        run(
            connection,
            f"UPDATE {store} JOIN {quoted(self.table)} ON {self.matches(self.kept.kept_in)} "
            f"SET {store}.{quoted(WAS)} = {self._present}",
        )

    def settle_retyped(self, connection: Connection) -> None:
        """Values that the other type held go; of the rest it is noted what became of them."""
        store, column = quoted(self.kept.kept_in), self.kept.column
        field = self.fields[column]
        joined = f"{quoted(self.table)} ON {self.matches(self.kept.kept_in)}"
        same = f"{field.of(self.table)} <=> {store}.{quoted(column)}"
        if field.charset:
            same = f"{field.bytes_of(self.table)} <=> {field.bytes_of(self.kept.kept_in)}"
        run(connection, f"DELETE {store} FROM {store} JOIN {joined} WHERE {same}")
        self.seal(connection)

    @property
    def _present(self) -> str:
        if self.kept.column:
            return self.fields[self.kept.column].bytes_of(self.table)
        values = ", ".join(f"QUOTE({f.bytes_of(self.table)})" for f in self.fields.values())
        return f"MD5(CONCAT_WS(',', {values}))"

    def _same(self, name: str) -> str:
        # Both have the same type and the same character set.
        field = replace(self.fields[name], charset=None)
        there = replace(field, name=name)
        return f"({field.bytes_of(self.table)} <=> {there.bytes_of(self.alias)})"


@dataclass
class Keeper:
    """Puts aside what the revert of ``migration`` loses, whose script is ``statements``; ``begun`` is the
    schema before it. ``done`` of the statements are over when something is asked. Raises pymysql.Error.
    """

    server: Server
    connection: Connection
    migration: str
    added: Added
    statements: Sequence[Statement]
    begun: Listing
    _open: list[Kept] = field(default_factory=list)
    _columns: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def prepare(self, done: int) -> None:
        """Have a place for everything that the revert may remove, and copy what nobody has to wait for. What
        a dead attempt kept is gone on with.
        """
        connection = self.connection
        parts = [(kept.TABLE, *part, "") for part in self.added.tables]
        parts += [(kept.COLUMN, *part) for part in self.added.columns]
        parts += [(RETYPED, *part) for part in self.added.retyped]
        if not parts:
            return
        kept.prepare(connection)
        run(connection, f"DELETE FROM {kept.REGISTRY} WHERE `rows` IS NULL AND kept_in = ''")
        self._open = kept.pending(connection, self.migration, settled=False)
        known = {(k.kind, k.relation, k.column) for k in self._open}
        for part in parts:
            if part not in known and not done:
                self._begin(*part)
        self.server.guard(connection, statement_timeout=0, keep_mode=True)
        lock_no_source(connection)
        for source in self._sources(done):
            if source.kept.key:
                source.add(connection, sealed=self._sealed(source.kept, done))
        run(connection, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        self.server.guard(connection, keep_mode=True)

    @contextlib.contextmanager
    def around(self, statement: Statement, done: int) -> Iterator[None]:
        """For a definition: from the moment the copies are complete nobody writes until it is over."""
        table = target(statement)
        concerned = [s for s in self._sources(done) if s.table == table] if table else []
        if not concerned:
            yield
            return
        names = {f"{quoted(name)} WRITE" for s in concerned for name in (s.table, s.kept.kept_in)}
        names |= {f"{quoted(s.kept.kept_in)} AS {s.alias} READ" for s in concerned}
        sealed = {s.kept.id for s in concerned if self._sealed(s.kept, done)}
        run(self.connection, f"LOCK TABLES {', '.join(sorted(names))}")
        try:
            for source in concerned:
                self._complete(source, sealed=source.kept.id in sealed)
            yield
        finally:
            # A session that is lost has let go of it.
            with contextlib.suppress(pymysql.Error):
                run(self.connection, "UNLOCK TABLES")

    def before_rows(self, group: Sequence[Statement], done: int) -> None:
        """In the transaction in which ``group`` changes rows."""
        for source in self._sources(done):
            if self._touches(group, source.kept, done):
                self._complete(source, sealed=self._sealed(source.kept, done))

    def after_rows(self, group: Sequence[Statement], done: int) -> None:
        """``group`` has changed them: what is written from now on is somebody else's."""
        for source in self._sources(done):
            if source.kept.key and self._touches(group, source.kept, done):
                source.seal(self.connection)

    def settle(self, key: str) -> None:
        """In the transaction that ends the revert: what it left in place is not kept, and of a retyped value
        it is noted what became of it. Counts the rows under ``key``.
        """
        connection = self.connection
        there = {s.kept.id: s for s in self._sources(len(self.statements))}
        for one_kept in self._open:
            source = there.get(one_kept.id)
            if source is not None and one_kept.kind == RETYPED and one_kept.key:
                source.settle_retyped(connection)
                source = None
            number = int(one(connection, f"SELECT COUNT(*) FROM {quoted(one_kept.kept_in)}"))
            if source is not None or not number:
                run(connection, f"DELETE FROM {kept.REGISTRY} WHERE id = %s", one_kept.id)
                continue
            run(
                connection,
                f"UPDATE {kept.REGISTRY} SET `rows` = %s, kept_by = %s, kept_at = UTC_TIMESTAMP(6) "
                "WHERE id = %s",
                number, key, one_kept.id,
            )  # fmt: skip

    def refilled(
        self, undo: list[Undo], lost: Sequence[Lost], seen: Listing, done: int
    ) -> tuple[list[Undo], list[Lost]]:
        """``undo``, with what makes anew and fills what is put aside; and what is ``lost`` all the same."""
        left = []
        for one_lost in lost:
            refill = self._refill(one_lost.table, one_lost.column, done) if one_lost.rows else ""
            if not refill:
                left.append(one_lost)
                continue
            undo = [*undo, Undo(refill, _REFILLS, rows=True)]
            if not one_lost.column:
                undo = [*recreated(one_lost.table, seen), *undo, *triggers_of(one_lost.table, seen)]
        return undo, left

    def _refill(self, table: str, column: str, done: int) -> str:
        """The statement that fills what a revert removed and took back, as often as it is sent. Empty when
        that is not put aside; ``column`` empty: the rows of the table.
        """
        for one_kept in self._open:
            names = self._names(one_kept, done)
            here, now = names[""], names.get(one_kept.column, "")
            if (here, now if one_kept.column else "") != (table, column) or not one_kept.key:
                continue
            store = quoted(one_kept.kept_in)
            if column:
                keys = " AND ".join(f"{quoted(table, names[k])} = {store}.{quoted(k)}" for k in one_kept.key)
                value = f"{store}.{quoted(one_kept.column)}"
                return f"UPDATE {quoted(table)} JOIN {store} ON {keys} SET {quoted(table, column)} = {value}"
            own = [name for name in names if name]
            first = quoted(table, names[one_kept.key[0]])
            return (
                f"INSERT INTO {quoted(table)} ({', '.join(quoted(names[n]) for n in own)}) "
                f"SELECT {', '.join(map(quoted, own))} FROM {store} "
                f"ON DUPLICATE KEY UPDATE {first} = {first}"
            )
        return ""

    def _begin(self, kind: str, relation: str, column: str) -> None:
        fields = kept.read_fields(self.connection, relation)
        key = kept.key_of(fields)
        wanted = {f.name: f for f in fields.values() if not f.generated}
        if kind != kept.TABLE:
            if column not in wanted or (kind == RETYPED and column in key):
                return  # Gone or computed; or a key, which must survive the way back by itself.
            # A key that the migration made or changed does not find the rows again.
            changed = {p[1] for p in (*self.added.columns, *self.added.retyped) if p[0] == relation}
            key = () if changed & set(key) else key
            if key:
                wanted = {name: wanted[name] for name in (*key, column)}
        if wanted:
            new = kept.begin(self.connection, self.migration, kind, relation, column, key, wanted.values())
            self._open.append(new)

    def _names(self, one_kept: Kept, done: int) -> dict[str, str]:
        """What the copy's columns are called in the table now, and the table: ``""``."""
        if one_kept.id not in self._columns:
            found = kept.read_fields(self.connection, one_kept.kept_in)
            self._columns[one_kept.id] = tuple(name for name in found if name != WAS)
        own = self._columns[one_kept.id]
        places = [(one_kept.relation, name) for name in ("", *own)]
        now = called(places, self.statements[:done])
        return {name: now[one_kept.relation, name][1] if name else now[one_kept.relation, ""][0]
                for _, name in places}  # fmt: skip

    def _sources(self, done: int) -> Iterator[Source]:
        """Of what the revert has not removed yet."""
        seen: dict[str, dict[str, Field]] = {}
        for one_kept in self._open:
            names = self._names(one_kept, done)
            if names[""] not in seen:
                seen[names[""]] = kept.read_fields(self.connection, names[""])
            there = seen[names[""]]
            fields = {own: there[now] for own, now in names.items() if own and now in there}
            needed = {*one_kept.key, *([one_kept.column] if one_kept.column else [])}
            if fields and needed <= fields.keys():
                yield Source(one_kept, names[""], fields)

    def _complete(self, source: Source, *, sealed: bool) -> None:
        """Exactly what is there; ``sealed``: and what is kept by now."""
        if sealed and not source.kept.key:
            return
        if not sealed:
            source.forget(self.connection)
        source.add(self.connection, sealed=sealed)

    def _sealed(self, one_kept: Kept, done: int) -> bool:
        """A statement of the revert changed its rows: what it was before must not be taken for old."""
        return any(self._touches([s], one_kept, n) for n, s in enumerate(self.statements[:done]))

    def _touches(self, group: Sequence[Statement], one_kept: Kept, done: int) -> bool:
        """Whether they may change what it holds: they name its table, or one whose triggers or foreign keys
        act on others.
        """
        names: set[str] = set()
        for statement in group:
            if statement.kind is Kind.ROWS and not (statement.words and statement.words[0] in READS):
                names |= statement.names
        if not names:
            return False
        table = called([(one_kept.relation, "")], self.statements[:done])[one_kept.relation, ""][0]
        return table in names or bool(_acting(self.begun) & names)


def _acting(listing: Listing) -> set[str]:
    """Tables of which a changed row may change rows of others."""
    found = {part.parent for (kind, _), part in listing.items() if kind == TRIGGER}
    tables = [name for kind, name in listing if kind == TABLE]
    for (kind, _), part in listing.items():
        if kind == CONSTRAINT and (" CASCADE" in part.definition or " SET NULL" in part.definition):
            found |= {name for name in tables if f" REFERENCES {quoted(name)} " in part.definition}
    return found
