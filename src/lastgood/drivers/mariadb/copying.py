"""Statements on rows of the copy: each is done, or the server's reason why the row is refused is returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pymysql

from lastgood.drivers.mariadb import failures, pieces
from lastgood.drivers.mariadb.connection import Connection, rows, run
from lastgood.drivers.mariadb.ledger import Key
from lastgood.drivers.mariadb.shapes import Shape, Shapes, escaped
from lastgood.sql.changes import Row

_REFUSED = (pymysql.err.IntegrityError, pymysql.err.DataError, pymysql.err.OperationalError)
_NOT_THE_ROW = frozenset({1153, 1205, 1213, 1021, 1114, 1142, 1143, 1044, 1045, 1317, 1927, 1969, 3100})
"""A statement that is too long, locks, a full disk, rights, a session that was ended."""


@dataclass
class Copy:
    """The copy ``shapes``, inside the caller's transaction. Raises pymysql.Error when a refusal is not the
    row's fault.
    """

    connection: Connection
    shapes: Shapes
    room: int = field(init=False)
    """Bytes of a statement that the server takes."""

    def __post_init__(self) -> None:
        self.room = int(rows(self.connection, "SELECT @@max_allowed_packet")[0][0])

    @staticmethod
    def key(shape: Shape, row: Row) -> Key | None:
        """None: the row lacks a column of the key."""
        if not all(column in row for column in shape.key):
            return None
        return tuple(row[column] for column in shape.key)

    def find(self, shape: Shape, key: Key) -> dict[str, str | None] | None:
        """The row as text, None when it is not there."""
        columns = [shape.columns[c] for c in shape.written]
        found = rows(
            self.connection,
            f"SELECT {', '.join(c.text for c in columns)} FROM {self.shapes.name(shape.name)} "
            f"WHERE {_where(shape)}",
            *_given(shape, key),
        )
        if not found:
            return None
        return {c.name: c.read(value) for c, value in zip(columns, found[0], strict=True)}

    def insert(self, shape: Shape, columns: Sequence[str], values: Sequence[Row]) -> str | None:
        """Rows that have the same ``columns``; all or none."""
        given = [shape.columns[c] for c in columns if not shape.columns[c].generated]
        one = "(" + ", ".join(["%s"] * len(given)) + ")"
        statement = (
            f"INSERT INTO {self.shapes.name(shape.name)} ({', '.join(escaped(c.name) for c in given)}) "
            f"VALUES {', '.join([one] * len(values))}"
        )
        if len(values) == 1:
            row = {c.name: c.given(values[0][c.name]) for c in given}
            key = [row[c] for c in shape.key if c in row]
            return self._write(shape, key, statement, row, ())
        return self._try(statement, [c.given(row[c.name]) for row in values for c in given])

    def update(self, shape: Shape, key: Key, wanted: Row) -> str | None:
        assignments = ", ".join(f"{escaped(c)} = %s" for c in wanted)
        row = {c: shape.columns[c].given(v) for c, v in wanted.items()}
        now = [row.get(c, v) for c, v in zip(shape.key, _given(shape, key), strict=True)]
        statement = f"UPDATE {self.shapes.name(shape.name)} SET {assignments} WHERE {_where(shape)}"
        return self._write(shape, now, statement, row, _given(shape, key))

    def delete(self, shape: Shape, key: Key) -> str | None:
        """With what its foreign keys do to other rows."""
        return self._try(
            f"DELETE FROM {self.shapes.name(shape.name)} WHERE {_where(shape)}", _given(shape, key)
        )

    def empty(self, table: str) -> str | None:
        """With what its foreign keys do to other rows."""
        return self._try(f"DELETE FROM {self.shapes.name(table)}", ())

    def _write(
        self, shape: Shape, key: Sequence[Any], statement: str, row: dict[str, Any], others: Sequence[Any]
    ) -> str | None:
        """``statement`` takes the values of ``row`` and ``others``. What is more than the server takes as one
        is given piece by piece, to the row that then has ``key``.
        """
        room = self.room
        if sum(map(pieces.size, row.values())) < room // 2:
            return self._try(statement, [*row.values(), *others])
        if any(len(v.encode() if isinstance(v, str) else v) >= room for v in row.values() if pieces.size(v)):
            return pieces.TOO_LONG
        # A half of a document is none: the whole one was checked where it comes from.
        run(self.connection, "SET SESSION check_constraint_checks = 0")
        run(self.connection, "SAVEPOINT lastgood_pieces")
        refused = self._try(statement, [*pieces.first(row, room).values(), *others])
        for column, piece in pieces.rest(row, room):
            name = escaped(column)
            refused = refused or self._try(
                f"UPDATE {self.shapes.name(shape.name)} SET {name} = CONCAT({name}, %s) "
                f"WHERE {_where(shape)}",
                [piece, *key],
            )
        if refused is not None:
            run(self.connection, "ROLLBACK TO SAVEPOINT lastgood_pieces")
        run(self.connection, "RELEASE SAVEPOINT lastgood_pieces")
        run(self.connection, "SET SESSION check_constraint_checks = 1")
        return refused

    def _try(self, statement: str, values: Sequence[Any]) -> str | None:
        """A statement that fails leaves nothing behind."""
        try:
            run(self.connection, statement, *values)
        except _REFUSED as error:
            if failures.lost(error) or failures.number(error) in _NOT_THE_ROW:
                raise
            return failures.text(error)
        return None


def _where(shape: Shape) -> str:
    return " AND ".join(f"{escaped(column)} = %s" for column in shape.key)


def _given(shape: Shape, key: Key) -> list[Any]:
    return [shape.columns[c].given(v) for c, v in zip(shape.key, key, strict=True)]
