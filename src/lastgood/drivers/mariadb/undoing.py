"""Puts rows back that a migration changed, where nobody changed them since; the rest is listed.

A row is one thing: where one of the columns that the migration changed holds another value now, none of them
is put back. Columns that the migration left alone keep what was written since. A row that the migration made
goes only while it is as it was made and nothing refers to it; one that it deleted returns only while its
key is free. What stands against it becomes a conflict with the three values and the reason; nothing is lost.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pymysql

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import failures
from lastgood.drivers.mariadb.connection import Connection, one, rows, run
from lastgood.drivers.mariadb.copying import Copy
from lastgood.drivers.mariadb.pieces import size
from lastgood.drivers.mariadb.recording import CONFLICTS, ROWS, RUNS, UNDO
from lastgood.drivers.mariadb.revisions import exists
from lastgood.drivers.mariadb.shapes import Shape, Shapes, escaped, read_shapes
from lastgood.ports.undoing import Undone
from lastgood.sql.undoing import CHANGED, GONE, NO_COLUMN, NO_TABLE, REFERRED, TAKEN

AT_ONCE = 200
"""Rows that are looked at, and locked, by one question."""
_DONE = "undone"

Row = dict[str, str | None]


def undo(connection: Connection, migration: str, key: str, address: str) -> int:
    """Before revert.sql, in the caller's transaction. How many rows are as before; 0 when that was done.

    Raises Rejected when nothing was recorded, pymysql.Error.
    """
    if not exists(connection, RUNS) or not rows(
        connection, f"SELECT 1 FROM {RUNS} WHERE migration = %s AND recorded", migration
    ):
        raise Rejected(
            N_("nothing was recorded when {name} was deployed, so that its rows can't be undone"),
            todo=N_("Take it back with lastgood restore, or by a migration that mends what it did."),
            where=address,
            cause=Cause.SCRIPT_ERROR,
            name=migration,
        )
    with _as_the_log(connection):
        return _undo(connection, migration, key)


@contextlib.contextmanager
def _as_the_log(connection: Connection) -> Iterator[None]:
    """Values are compared and written as the log has them; what follows runs as before, also when a lock is
    waited for and all of it is tried again.
    """
    zone, mode = rows(connection, "SELECT @@SESSION.time_zone, @@SESSION.sql_mode")[0]
    run(
        connection,
        "SET SESSION time_zone = '+00:00', "
        "sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'",
    )
    try:
        yield
    finally:
        # A session that is lost has no settings.
        with contextlib.suppress(pymysql.Error):
            run(connection, "SET SESSION time_zone = %s, sql_mode = %s", zone, mode)


def _undo(connection: Connection, migration: str, key: str) -> int:
    shapes = read_shapes(connection, str(one(connection, "SELECT DATABASE()")))
    lots = [
        _Lot(connection, shapes, int(number), str(table), tuple(json.loads(of)))
        for number, table, of in rows(
            connection,
            f"SELECT id, relation, `key` FROM {UNDO} WHERE migration = %s AND undone_at IS NULL "
            "ORDER BY id DESC",
            migration,
        )
    ]
    progress = True
    while progress:  # A row may need that another one goes, or returns, first.
        progress = False
        for lot in lots:
            progress |= lot.step()
    return sum(lot.finish(key) for lot in lots)


def report(connection: Connection, migration: str, key: str) -> Undone:
    """What the step ``key`` undid, and what it had to leave, by table."""
    if not exists(connection, UNDO):
        return Undone()
    found = rows(
        connection,
        f"SELECT relation, undone, (SELECT COUNT(*) FROM {CONFLICTS} c WHERE c.lot = u.id) "
        f"FROM {UNDO} u WHERE migration = %s AND undone_by = %s ORDER BY id",
        migration, key,
    )  # fmt: skip
    return Undone({t: int(n) for t, n, _ in found if n}, {t: int(left) for t, _, left in found if left})


@dataclass
class _One:
    """A recorded row; ``reason`` is why it is not put back, as far as that is known."""

    number: int
    was: Row | None
    now: Row | None

    def key(self, columns: Sequence[str], *, at_first: bool = False) -> tuple[str | None, ...]:
        row = self.was if self.now is None or (at_first and self.was is not None) else self.now
        assert row is not None, "one of both is there"
        return tuple(row.get(column) for column in columns)


class _Lot:
    """The rows of one table on their way back."""

    def __init__(
        self, connection: Connection, shapes: Shapes, number: int, table: str, key: tuple[str, ...]
    ) -> None:
        self._connection = connection
        self._shapes = shapes
        self._copy = Copy(connection, shapes)
        self._id = number
        self._table = table
        self._key = key
        self._shape: Shape | None = shapes.tables.get(table)
        if self._shape is not None and tuple(self._shape.key) != key:
            self._shape = None

    def step(self) -> bool:
        """Whether some row came nearer to what it was."""
        found = False
        for batch in self._batches():
            done = [entry.number for entry, reason in self._look(batch) if reason == _DONE]
            if done:
                found = True
                places = ", ".join(["%s"] * len(done))
                run(
                    self._connection,
                    f"UPDATE {ROWS} SET state = %s WHERE lot = %s AND n IN ({places})",
                    _DONE, self._id, *done,
                )  # fmt: skip
        return found

    def finish(self, key: str) -> int:
        """List what is left, and forget the rest. Rows that are as before."""
        connection = self._connection
        for batch in self._batches():
            found = self._found(batch)
            for entry, reason in self._look(batch):
                there = found.get(entry.key(self._key)) or found.get(entry.key(self._key, at_first=True))
                run(
                    connection,
                    f"INSERT INTO {CONFLICTS} (lot, `key`, was, deployed, found, reason) "
                    "VALUES (%s, %s, %s, %s, %s, %s)",
                    self._id, json.dumps(entry.key(self._key)), _json(entry.was), _json(entry.now),
                    _json(there), reason,
                )  # fmt: skip
        number = int(
            one(connection, f"SELECT COUNT(*) FROM {ROWS} WHERE lot = %s AND state = %s", self._id, _DONE)
        )
        run(
            connection,
            f"UPDATE {UNDO} SET undone = %s, undone_by = %s, undone_at = UTC_TIMESTAMP(6) WHERE id = %s",
            number, key, self._id,
        )  # fmt: skip
        run(connection, f"DELETE FROM {ROWS} WHERE lot = %s", self._id)
        return number

    def _batches(self) -> Iterator[list[_One]]:
        """Of what is not put back."""
        after = 0
        while True:
            found = rows(
                self._connection,
                f"SELECT n, was, now FROM {ROWS} WHERE lot = %s AND n > %s AND state IS NULL "
                f"ORDER BY n LIMIT {AT_ONCE}",
                self._id, after,
            )  # fmt: skip
            if not found:
                return
            yield [_One(int(n), _row(was), _row(now)) for n, was, now in found]
            after = int(found[-1][0])

    def _look(self, batch: list[_One]) -> Iterator[tuple[_One, str]]:
        """Each with what became of it: ``_DONE``, or the reason why it stays."""
        there = self._found(batch)
        alike: dict[tuple[str, ...], list[tuple[_One, Row]]] = {}
        for entry in batch:
            found = self._put_back(entry, there)
            if isinstance(found, str):
                yield entry, found
            else:
                alike.setdefault(tuple(found), []).append((entry, found))
        for columns, pairs in alike.items():
            assert self._shape is not None, "nothing is put back without its table"
            if len(pairs) > 1 and self._update(self._shape, columns, pairs):
                yield from ((entry, _DONE) for entry, _ in pairs)
                continue
            for entry, wanted in pairs:
                yield entry, self._copy.update(self._shape, entry.key(self._key), wanted) or _DONE

    def _update(self, shape: Shape, columns: Sequence[str], pairs: Sequence[tuple[_One, Row]]) -> bool:
        """All of them by one statement, or none: then each has to be tried by itself."""
        keys = [[shape.columns[c].given(v) for c, v in zip(self._key, entry.key(self._key), strict=True)]
                for entry, _ in pairs]  # fmt: skip
        term = " AND ".join(f"{escaped(c)} = %s" for c in self._key)
        case = f"CASE {' '.join([f'WHEN {term} THEN %s'] * len(pairs))} END"
        given: list[object] = []
        for column in columns:
            for key, (_, wanted) in zip(keys, pairs, strict=True):
                given += [*key, shape.columns[column].given(wanted[column])]
        given += [value for key in keys for value in key]
        single = "(" + ", ".join(["%s"] * len(self._key)) + ")"
        if sum(map(size, given)) > self._copy.room // 2:
            return False
        try:
            run(
                self._connection,
                f"UPDATE {self._shapes.name(self._table)} "
                f"SET {', '.join(f'{escaped(c)} = {case}' for c in columns)} "
                f"WHERE ({', '.join(escaped(c) for c in self._key)}) IN ({', '.join([single] * len(keys))})",
                *given,
            )
        except (pymysql.err.IntegrityError, pymysql.err.DataError, pymysql.err.OperationalError) as error:
            if failures.lost(error) or failures.locked(error) or failures.number(error) in failures.KILLED:
                raise
            return False
        return True

    def _put_back(self, entry: _One, there: dict[tuple[str | None, ...], Row]) -> str | Row:
        """What became of it, or what has to be written into the row that it is now."""
        shape = self._shape
        if shape is None:
            return NO_TABLE
        row = there.get(entry.key(self._key))
        first = there.get(entry.key(self._key, at_first=True))
        if entry.now is None:
            return self._insert(shape, entry.was or {}, row)
        if entry.was is None:
            return self._delete(shape, entry, row)
        if row is None:
            return _DONE if first is not None and _same(shape, first, entry.was) else GONE
        changed = {c: v for c, v in entry.was.items() if entry.now.get(c) != v}
        if not changed.keys() <= shape.columns.keys():
            return NO_COLUMN
        if not _same(shape, row, {c: entry.now.get(c) for c in changed}):
            return _DONE if _same(shape, row, entry.was) else CHANGED
        wanted = {c: v for c, v in changed.items() if not shape.columns[c].generated}
        if changed.keys() & set(self._key):
            return self._copy.update(shape, entry.key(self._key), wanted) or _DONE
        return wanted

    def _insert(self, shape: Shape, was: Row, row: Row | None) -> str:
        if row is not None:
            return _DONE if _same(shape, row, was) else TAKEN
        given = {c: v for c, v in was.items() if c in shape.columns and not shape.columns[c].generated}
        return self._copy.insert(shape, list(given), [given]) or _DONE

    def _delete(self, shape: Shape, entry: _One, row: Row | None) -> str:
        if row is None:
            return _DONE
        if not _same(shape, row, entry.now or {}):
            return CHANGED
        if self._referred(row):
            return REFERRED
        return self._copy.delete(shape, entry.key(self._key)) or _DONE

    def _referred(self, row: Row) -> bool:
        """Whether another row refers to it: a cascade would take that along."""
        for reference in self._shapes.references:
            if reference.parent != self._table or reference.schema != self._shapes.schema:
                continue
            child = self._shapes.tables[reference.child]
            pairs = list(zip(reference.columns, reference.referred, strict=True))
            terms = [f"{escaped(column)} = %s" for column, _ in pairs]
            given = [child.columns[column].given(row.get(there)) for column, there in pairs]
            if reference.child == self._table:
                terms.append("NOT (" + " AND ".join(f"{escaped(c)} = %s" for c in self._key) + ")")
                given += [child.columns[c].given(row.get(c)) for c in self._key]
            question = f"SELECT 1 FROM {self._shapes.name(child.name)} WHERE {' AND '.join(terms)} LIMIT 1"
            if rows(self._connection, question, *given):
                return True
        return False

    def _found(self, batch: list[_One]) -> dict[tuple[str | None, ...], Row]:
        """Rows that are there under one of their keys, which nobody changes from now on."""
        shape = self._shape
        if shape is None:
            return {}
        keys = {entry.key(self._key, at_first=first) for entry in batch for first in (False, True)}
        columns = [shape.columns[c] for c in shape.columns]
        single = "(" + ", ".join(["%s"] * len(self._key)) + ")"
        given = [
            shape.columns[c].given(v)
            for key in sorted(keys, key=str)
            for c, v in zip(self._key, key, strict=True)
        ]
        found: dict[tuple[str | None, ...], Row] = {}
        for values in rows(
            self._connection,
            f"SELECT {', '.join(c.text for c in columns)} FROM {self._shapes.name(self._table)} "
            f"WHERE ({', '.join(escaped(c) for c in self._key)}) IN ({', '.join([single] * len(keys))}) "
            "FOR UPDATE",
            *given,
        ):
            row = {c.name: c.read(value) for c, value in zip(columns, values, strict=True)}
            found[tuple(row[c] for c in self._key)] = row
        return found


def _same(shape: Shape, row: Row, wanted: Mapping[str, str | None]) -> bool:
    """Whether it has these values, as far as they are not computed."""
    return all(
        row.get(c) == v for c, v in wanted.items() if c in shape.columns and not shape.columns[c].generated
    )


def _row(text: str | None) -> Row | None:
    return None if text is None else dict(json.loads(text))


def _json(row: Row | None) -> str | None:
    return None if row is None else json.dumps(row, ensure_ascii=False)
