"""Rows written in the live database, carried into the copy one after the other, as the live database went
through them.

The log has each row whole, before and after. So what the shop changed is what differs between the two, and
what a migration changed is what differs between the row before and the copy's: a column that differs in both
is a conflict. Foreign keys act in the copy as they did in the live database, where the log does not show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lastgood.drivers.mariadb.connection import Connection, run
from lastgood.drivers.mariadb.copying import Copy
from lastgood.drivers.mariadb.ledger import Key, Ledger
from lastgood.drivers.mariadb.shapes import Column, Shape, Shapes
from lastgood.drivers.mariadb.values import alike
from lastgood.sql.changes import Change, Kind, Row, Transaction
from lastgood.sql.conflicts import (
    APART,
    BOTH,
    DELETED,
    INSERTED,
    NO_COLUMN,
    NO_ROW,
    NO_TABLE,
    ROUNDED,
    WHOLE,
    Conflict,
    as_json,
)

NO_KEY = "the old shape has no key that finds its rows"
CHUNK = 500
"""Rows that one INSERT gives."""
_AROUND = 8
"""Characters that a statement has around a value."""
_WIDEST = 4
"""Bytes of a character, in UTF-8."""


@dataclass
class Carrier:
    """Into the copy ``shapes``; ``now`` are the live database's. ``keep`` empty: all tables."""

    connection: Connection
    shapes: Shapes
    now: Shapes
    keep: frozenset[str]
    ledger: Ledger
    copy: Copy = field(init=False)
    _circles: frozenset[str] = field(init=False)
    _room: int = field(init=False)
    _inserts: dict[tuple[str, tuple[str, ...]], list[Change]] = field(default_factory=dict)
    _fresh: set[tuple[str, Key]] = field(default_factory=set)
    _seconds: float = 0.0
    _checks: bool = True

    def __post_init__(self) -> None:
        self.copy = Copy(self.connection, self.shapes)
        self._circles = self.shapes.circles
        self._room = self.copy.room // (_WIDEST + 1)

    def carry(self, transaction: Transaction) -> None:
        """Inside the caller's transaction; ``flush`` has to follow. Raises pymysql.Error."""
        self._seconds = transaction.seconds
        for change in transaction.changes:
            table = self.ledger.names.get(change.relation.name, change.relation.name)
            if self.keep and table not in self.keep:
                continue
            if not transaction.own:
                self._check_keys(not change.unchecked)
            if change.kind is Kind.TRUNCATE:
                if not transaction.own:
                    self._empty(table, apart=change.apart)
            elif transaction.own:
                self.flush()
                self._follow(table, change)
            elif not self._put_off(table, change):
                self.flush()
                self._write(table, change)
        self._check_keys(True)

    def _check_keys(self, check: bool) -> None:
        """Foreign keys act on what follows, or they don't, as in the session that wrote it."""
        if check != self._checks:
            self.flush()
            run(self.connection, f"SET SESSION foreign_key_checks = {int(check)}")
            self._checks = check

    def _empty(self, table: str, *, apart: bool) -> None:
        self.flush()
        if table not in self.shapes.tables:
            return
        error = APART if apart else self.copy.empty(table)
        if error is not None:
            # No key: all its rows are meant.
            return self._refuse(table, (), None, None, None, error)
        self.ledger.settle_table(table)

    def flush(self) -> None:
        """What was put off is done: new rows by the hundred, one by one where the copy refuses them."""
        waiting, self._inserts, self._fresh = self._inserts, {}, set()
        # Those first that the others refer to.
        for (table, columns), changes in sorted(waiting.items(), key=lambda w: self.shapes.depth(w[0][0])):
            for part in _parts(changes, self._room):
                if len(part) < 2 or not self._insert_all(table, columns, part):
                    for change in part:
                        self._write(table, change)

    def _put_off(self, table: str, change: Change) -> bool:
        """A new row can wait for others if the copy has all its columns and nothing is known of it."""
        shape = self.shapes.tables.get(table)
        if change.kind is not Kind.INSERT or shape is None or not shape.key or self.ledger.lists(table):
            return False
        columns = tuple(change.new)
        if (
            table in self._circles
            or not _plain(self.now, shape, columns)
            or not shape.required <= set(columns)
        ):
            return False
        key = self.copy.key(shape, change.new)
        if key is None or (table, key) in self._fresh or self.ledger.moved(table, key)[0]:
            return False
        self._fresh.add((table, key))
        self._inserts.setdefault((table, columns), []).append(change)
        return True

    def _insert_all(self, table: str, columns: Sequence[str], changes: Sequence[Change]) -> bool:
        shape = self.shapes.tables[table]
        if self.copy.insert(shape, columns, [change.new for change in changes]) is not None:
            return False
        self._count(table, len(changes))
        return True

    def _follow(self, table: str, change: Change) -> None:
        """What a migration wrote stays out of the copy; which row is which is noted."""
        shape = self.shapes.tables.get(table)
        if shape is None or not shape.key:
            return
        if change.kind is Kind.INSERT:
            key = self.copy.key(shape, change.new)
            if key is not None and not self.copy.find(shape, key):
                self.ledger.move(table, key, None)
        elif change.kind is Kind.UPDATE:
            key, now = self.copy.key(shape, change.before), self.copy.key(shape, change.new)
            if key is not None and now is not None and key != now:
                self.ledger.move(table, now, self.ledger.moved(table, key)[1])
                self.ledger.rename(table, key, now)

    def _write(self, table: str, change: Change) -> None:
        """What the shop wrote goes to the copy where the migration is not in its way."""
        shape = self.shapes.tables.get(table)
        key = self.copy.key(shape, change.before or change.new) if shape is not None and shape.key else None
        if shape is None or key is None:
            self._elsewhere(table, change, NO_TABLE if shape is None else NO_KEY)
        elif change.kind is Kind.INSERT:
            self._insert(shape, key, change.new)
        elif change.kind is Kind.UPDATE:
            self._update(shape, key, change)
        else:
            self._delete(shape, key)

    def _elsewhere(self, table: str, change: Change, reason: str) -> None:
        """The copy has no place for it."""
        relation = change.relation
        row = change.new or change.before
        key = tuple(row.get(c) for c in relation.key or relation.columns)
        if change.kind is Kind.DELETE:
            self.ledger.settle(table, key)
            return
        if change.before:
            was = tuple(change.before.get(c) for c in relation.key or relation.columns)
            self.ledger.rename(table, was, key)
        self._refuse(table, key, None, None, row, reason)

    def _insert(self, shape: Shape, key: Key, new: Row) -> None:
        table = shape.name
        there = self.copy.find(shape, key)
        missing = sorted(shape.required - set(new))
        if there is not None or missing:
            reason = DELETED if there is not None else f"the old shape needs {', '.join(missing)}"
            self._refuse(table, key, there, None, new, reason)
            return
        given = {c: new[c] for c in shape.written if c in new}
        error = self.copy.insert(shape, list(given), [given])
        if error is not None:
            self._refuse(table, key, None, None, new, error)
            return
        self._count(table, 1)
        self.ledger.move(table, key, key)
        self.ledger.settle(table, key)
        self._check_rounded(shape, key, given, {})
        self._list_extra(shape, key, {}, new)

    def _update(self, shape: Shape, key: Key, change: Change) -> None:
        table, before, after = shape.name, change.before, change.new
        known, home = self.ledger.moved(table, key)
        now = self.copy.key(shape, after)
        assert now is not None, "its columns were there before"
        there = self.copy.find(shape, home) if home is not None else None
        whole = self.ledger.lists_whole(table, key)
        self.ledger.rename(table, key, now)
        if there is None or home is None or (whole and any(after.get(c) != v for c, v in there.items())):
            reason = DELETED if there is not None else INSERTED if known else NO_ROW
            self._refuse(table, now, there, before, after, reason)
            if known and now != key:
                self.ledger.move(table, now, home)
            return
        if whole:
            self.ledger.settle(table, now)
        wanted, clash = {}, {}
        same = _same(self.now, shape)
        for column, value in after.items():
            if column not in there or value == before.get(column):
                continue
            if same(column, there[column], before.get(column)) or same(column, there[column], value):
                wanted[column] = value
            else:
                clash[column] = Conflict(there[column], before.get(column), value, BOTH)
        stays = {c: v for c, v in wanted.items() if there[c] == v}
        self._set(shape, home, now, there, {c: v for c, v in wanted.items() if c not in stays})
        self.ledger.settle(table, now, stays)
        for column, conflict in clash.items():
            self.ledger.conflict(table, now, column, conflict, self._seconds)
        self._list_extra(shape, now, before, after)

    def _set(self, shape: Shape, home: Key, now: Key, there: Row, wanted: Row) -> None:
        """Columns of the copy's row ``home``, which is ``now`` in the live database afterwards."""
        table = shape.name
        if wanted:
            error = self.copy.update(shape, home, wanted)
            if error is not None:
                for column, value in wanted.items():
                    conflict = Conflict(there[column], None, value, error)
                    self.ledger.conflict(table, now, column, conflict, self._seconds)
                self.ledger.move(table, now, home)
                return
            self._count(table, 1)
            self.ledger.settle(table, now, wanted)
        moved = tuple(wanted.get(c, part) for c, part in zip(shape.key, home, strict=True))
        self.ledger.move(table, now, moved)
        self._check_rounded(shape, moved, wanted, there)

    def _delete(self, shape: Shape, key: Key) -> None:
        table = shape.name
        _, home = self.ledger.moved(table, key)
        there = self.copy.find(shape, home) if home is not None else None
        if there is None or home is None or self.ledger.lists_whole(table, key):
            self.ledger.settle(table, key)
            self.ledger.move(table, key, key)
            return
        error = self.copy.delete(shape, home)
        self.ledger.settle(table, key)
        self.ledger.move(table, key, key)
        if error is not None:
            self._refuse(table, key, there, None, None, error)
        else:
            self._count(table, 1)

    def _refuse(
        self, table: str, key: Key, copy: Row | None, migration: Row | None, shop: Row | None, reason: str
    ) -> None:
        conflict = Conflict(as_json(copy), as_json(migration), as_json(shop), reason)
        self.ledger.conflict(table, key, WHOLE, conflict, self._seconds)

    def _list_extra(self, shape: Shape, key: Key, before: Row, new: Row) -> None:
        """Values for which the copy has no column."""
        now = self.now.tables.get(shape.name)
        for column, value in new.items():
            if column in shape.columns or value == before.get(column, _filled(now, column)):
                continue
            if value is None or value == _filled(now, column):
                self.ledger.settle(shape.name, key, [column])
            else:
                conflict = Conflict(None, before.get(column), value, NO_COLUMN)
                self.ledger.conflict(shape.name, key, column, conflict, self._seconds)

    def _check_rounded(self, shape: Shape, key: Key, given: Row, there: Row) -> None:
        """Where a column's type is another one now, what the copy took is compared with what it was given."""
        if _plain(self.now, shape, list(given)) or not given:
            return
        held = self.copy.find(shape, key) or {}
        same = _same(self.now, shape)
        wrong = {c: v for c, v in given.items() if not same(c, held.get(c), v)}
        for column, value in wrong.items():
            conflict = Conflict(there.get(column), None, value, ROUNDED)
            self.ledger.conflict(shape.name, key, column, conflict, self._seconds)

    def _count(self, table: str, rows_: int) -> None:
        self.ledger.carried[table] = self.ledger.carried.get(table, 0) + rows_


def _parts(changes: Sequence[Change], room: int) -> Iterator[list[Change]]:
    """As many as one statement holds, however long their values are."""
    part: list[Change] = []
    size = 0
    for change in changes:
        length = sum(len(value or "") + _AROUND for value in change.new.values())
        if part and (len(part) == CHUNK or size + length > room):
            yield part
            part, size = [], 0
        part.append(change)
        size += length
    yield part


def _plain(nows: Shapes, shape: Shape, columns: Sequence[str]) -> bool:
    """Whether these are the same in the live database, ``nows``."""
    now = nows.tables.get(shape.name)
    return now is not None and all(
        c in shape.columns and c in now.columns and now.columns[c].exact == shape.columns[c].exact
        for c in columns
    )  # fmt: skip


def _filled(now: Shape | None, column: str) -> str | None:
    known: Mapping[str, Column] = now.columns if now is not None else {}
    return known[column].filled if column in known else None


def _same(nows: Shapes, shape: Shape) -> Callable[[str, str | None, str | None], bool]:
    """Whether two texts are one value of a column, which may have another type in the live database."""
    return lambda column, one, other: (
        one == other or (not _plain(nows, shape, (column,)) and alike(one, other))
    )
