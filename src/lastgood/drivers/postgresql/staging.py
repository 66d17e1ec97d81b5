"""Rows on their way into the copy: staged as text, then moved by one statement for all that are alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from lastgood.drivers.postgresql.changes import Kind
from lastgood.drivers.postgresql.connection import Connection
from lastgood.drivers.postgresql.entries import Entry, Key
from lastgood.drivers.postgresql.shapes import Reference, Shape, Shapes


def text_of(value: sql.Composable) -> sql.Composed:
    """As the log has it: what the type's output function says; a cast to text is another thing."""
    return sql.SQL("CASE WHEN num_nulls({0}) = 0 THEN concat({0}) END").format(value)


STAGE = sql.Identifier("pg_temp", "lastgood_stage")


@dataclass(slots=True)
class Operation:
    """What is done to the row with the key ``home`` (as the copy has it) because of ``entry``."""

    entry: Entry
    kind: Kind
    home: Key
    values: Mapping[str, str | None]


@dataclass
class Lot:
    """Operations of one kind on one table that write the same ``columns``; staged under ``number``."""

    number: int
    shape: Shape
    kind: Kind
    key: tuple[str, ...]
    columns: tuple[str, ...]
    operations: list[Operation] = field(default_factory=list)

    def staged(self, column: str) -> sql.Composed:
        """The value that is written, or the key by which the row is found."""
        return self.shape.cast(column, self.text(column))

    def text(self, column: str) -> sql.Identifier:
        return self._at(len(self.key) + self.columns.index(column))

    @property
    def found(self) -> sql.Composed:
        """Joins the table ``t`` as it is before the statement."""
        return self._join([self.shape.cast(c, self._at(i)) for i, c in enumerate(self.key)])

    @property
    def written(self) -> sql.Composed:
        """Joins the table ``t`` as it is afterwards."""
        return self._join([
            self.staged(c) if c in self.columns else self.shape.cast(c, self._at(i))
            for i, c in enumerate(self.key)
        ])  # fmt: skip

    def _join(self, values: Sequence[sql.Composed]) -> sql.Composed:
        pairs = zip(self.key, values, strict=True)
        return sql.SQL(" AND ").join(sql.SQL("t.{} = {}").format(sql.Identifier(c), v) for c, v in pairs)

    @staticmethod
    def _at(position: int) -> sql.Identifier:
        return sql.Identifier("s", f"c{position}")


class Stage:
    """The staged lots of one attempt, in a temporary table of the session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._width = 0
        self.lots: list[Lot] = []

    def fill(self, operations: Iterable[Operation]) -> None:
        """Instead of what was staged before."""
        lots: dict[tuple[int, Kind, tuple[str, ...]], Lot] = {}
        for operation in operations:
            shape = operation.entry.place.shape
            assert shape is not None, "only rows of a table in the copy are operated on"
            columns = tuple(operation.values) if operation.kind is not Kind.DELETE else ()
            lot = lots.get((shape.oid, operation.kind, columns))
            if lot is None:
                key = operation.entry.place.key
                lot = Lot(len(lots), shape, operation.kind, key, columns)
                lots[shape.oid, operation.kind, columns] = lot
            lot.operations.append(operation)
        self.lots = list(lots.values())
        self._copy()

    def of(self, kind: Kind) -> Iterator[Lot]:
        return (lot for lot in self.lots if lot.kind is kind)

    def _copy(self) -> None:
        width = max((len(lot.key) + len(lot.columns) for lot in self.lots), default=1)
        self._connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(STAGE))
        columns = sql.SQL(", ").join(sql.SQL("c{} text").format(sql.SQL(str(n))) for n in range(width))
        self._connection.execute(
            sql.SQL("CREATE TEMP TABLE lastgood_stage (g int, n int, {})").format(columns)
        )
        into = sql.SQL("COPY {} FROM STDIN").format(STAGE)
        with self._connection.cursor().copy(into) as copy:
            for lot in self.lots:
                rest = (None,) * (width - len(lot.key) - len(lot.columns))
                for n, operation in enumerate(lot.operations):
                    values = (*operation.home, *operation.values.values()) if lot.columns else operation.home
                    copy.write_row((lot.number, n, *values, *rest))

    def run(self, lot: Lot) -> int:
        """Rows that the statement found."""
        return self._connection.execute(_STATEMENTS[lot.kind](lot)).rowcount

    def missing(self, lot: Lot) -> list[Operation]:
        """Those whose row is not in the copy."""
        return self._pick(
            lot, sql.SQL("NOT EXISTS (SELECT FROM {} t WHERE {})").format(_table(lot.shape), lot.written)
        )

    def rounded(self, lot: Lot, column: str, now: str) -> list[Operation]:
        """Values of type ``now`` in the live database that the copy does not hold exactly."""
        known = self._connection.execute("SELECT to_regtype(%s) IS NOT NULL", (now,)).fetchone()
        value, held = lot.text(column), sql.Identifier("t", column)
        condition = sql.SQL("{} IS DISTINCT FROM {}").format(text_of(held), value)
        if known and known[0]:
            other = text_of(sql.SQL("{}::{}").format(held, sql.SQL(now)))
            condition += sql.SQL(" AND {} IS DISTINCT FROM {}").format(other, value)
        within = sql.SQL("EXISTS (SELECT FROM {} t WHERE {} AND {})")
        return self._pick(lot, within.format(_table(lot.shape), lot.written, condition))

    def orphans(self, lot: Lot, reference: Reference, shapes: Shapes) -> list[Operation]:
        """Those that refer to a row which the copy does not have."""
        parent = shapes.tables[reference.parent]
        pairs = list(zip(reference.columns, reference.referred, strict=True))
        condition = sql.SQL(
            "EXISTS (SELECT FROM {} t WHERE {} AND {} AND NOT EXISTS (SELECT FROM {} p WHERE {}))"
        ).format(
            _table(lot.shape),
            lot.written,
            sql.SQL(" AND ").join(sql.SQL("t.{} IS NOT NULL").format(sql.Identifier(c)) for c, _ in pairs),
            _table(parent),
            _equal("p", "t", [(r, c) for c, r in pairs]),
        )
        return self._pick(lot, condition)

    def referred(self, lot: Lot, reference: Reference, shapes: Shapes) -> list[Operation]:
        """Of rows to be deleted, those that a row refers to which is not to be deleted, too."""
        child = shapes.tables[reference.child]
        pairs = list(zip(reference.referred, reference.columns, strict=True))
        spared = [
            sql.SQL(" AND NOT EXISTS (SELECT FROM {} s, (SELECT r.*) t WHERE s.g = {} AND {})").format(
                STAGE, sql.Literal(other.number), other.found
            )
            for other in self.of(Kind.DELETE)
            if other.shape.oid == child.oid
        ]
        condition = sql.SQL("EXISTS (SELECT FROM {} t, {} r WHERE {} AND {}{})").format(
            _table(lot.shape), _table(child), lot.found, _equal("t", "r", pairs), sql.SQL("").join(spared)
        )
        return self._pick(lot, condition)

    def _pick(self, lot: Lot, condition: sql.Composable) -> list[Operation]:
        question = sql.SQL("SELECT s.n FROM {} s WHERE s.g = {} AND {}")
        rows = self._connection.execute(question.format(STAGE, sql.Literal(lot.number), condition))
        return [lot.operations[n] for (n,) in rows.fetchall()]


def _table(shape: Shape) -> sql.Composable:
    return shape.identifier if shape.partitioned else sql.SQL("ONLY {}").format(shape.identifier)


def _equal(left: str, right: str, pairs: Sequence[tuple[str, str]]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, a), sql.Identifier(right, b)) for a, b in pairs
    )


def _update(lot: Lot) -> sql.Composed:
    return sql.SQL("UPDATE {} t SET {} FROM {} s WHERE s.g = {} AND {}").format(
        _table(lot.shape),
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(c), lot.staged(c)) for c in lot.columns),
        STAGE,
        sql.Literal(lot.number),
        lot.found,
    )


def _delete(lot: Lot) -> sql.Composed:
    return sql.SQL("DELETE FROM {} t USING {} s WHERE s.g = {} AND {}").format(
        _table(lot.shape), STAGE, sql.Literal(lot.number), lot.found
    )


def _insert(lot: Lot) -> sql.Composed:
    return sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s WHERE s.g = {}").format(
        lot.shape.identifier,
        sql.SQL(", ").join(sql.Identifier(c) for c in lot.columns),
        sql.SQL(", ").join(lot.staged(c) for c in lot.columns),
        STAGE,
        sql.Literal(lot.number),
    )


_STATEMENTS = {Kind.UPDATE: _update, Kind.DELETE: _delete, Kind.INSERT: _insert}


def read_rows(
    connection: Connection, shape: Shape, key: Sequence[str], keys: Sequence[Key]
) -> dict[Key, dict[str, str | None]]:
    """Those rows that are there, as text."""
    if not keys:
        return {}
    names = [sql.Identifier(f"k{n}") for n in range(len(key))]
    question = sql.SQL("SELECT {} FROM {} t JOIN unnest({}) AS u({}) ON {}").format(
        sql.SQL(", ").join(text_of(sql.Identifier("t", c)) for c in shape.written),
        shape.identifier,
        sql.SQL(", ").join([sql.SQL("%s::text[]")] * len(key)),
        sql.SQL(", ").join(names),
        sql.SQL(" AND ").join(
            sql.SQL("t.{} = {}").format(sql.Identifier(c), shape.cast(c, n))
            for c, n in zip(key, names, strict=True)
        ),
    )
    found: dict[Key, dict[str, str | None]] = {}
    for row in connection.execute(question, [list(part) for part in zip(*keys, strict=True)]):
        values = dict(zip(shape.written, row, strict=True))
        found[tuple(values[c] for c in key)] = values
    return found
