"""Rows written in the live database, carried into the copy: all at once, and where the copy refuses, in ever
smaller parts, until the rows that it can't hold are known. Those are listed as conflicts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import psycopg
from psycopg import errors, sql

from lastgood.drivers.postgresql import failures
from lastgood.drivers.postgresql.changes import Change, Kind, Relation, Transaction
from lastgood.drivers.postgresql.connection import Connection
from lastgood.drivers.postgresql.entries import Entry, Key, Place, Places, gather
from lastgood.drivers.postgresql.ledger import Ledger
from lastgood.drivers.postgresql.loosening import loosened
from lastgood.drivers.postgresql.merging import NO_COLUMN, Conflict, Row
from lastgood.drivers.postgresql.shapes import Shapes
from lastgood.drivers.postgresql.staging import Operation, Stage, text_of

ORPHAN = "it refers to a row of {table} which is not in the copy"
REFERRED = "rows of {table} still refer to it"
ROUNDED = "the old shape can't hold the value"

CHUNK = 20_000
"""Rows that are merged at a time."""

Address = tuple[str, Key]


@dataclass
class Refusal:
    """Why a row is not taken as it is; without a reason it only has to be looked at by itself. ``columns``
    empty: all that were changed.
    """

    reason: str = ""
    columns: set[str] = field(default_factory=set)


Refusals = dict[Address, Refusal]


@dataclass
class Careful:
    """A row that is merged by itself; ``known``: it was noted as diverged before."""

    entry: Entry
    home: Key | None
    row: Row
    known: bool


@dataclass
class Carrier:
    """Carries into the copy that ``connection`` is in, whose tables are ``shapes``."""

    connection: Connection
    shapes: Shapes
    places: Places
    ledger: Ledger

    def __post_init__(self) -> None:
        self._stage = Stage(self.connection)
        self._diverged = self.ledger.tables_with("diverged")
        self._listed = self.ledger.tables_with("conflicts")

    def carry(self, transactions: Sequence[Transaction]) -> None:
        """Of the shop alone, or one migration; inside the caller's transaction. Raises psycopg.Error."""
        for part in self._parts(transactions):
            if part[0].own:
                self._set_aside(part)
                continue
            found = (self.places.of(change.relation) for t in part for change in t.changes)
            with loosened(self.connection, self.shapes, {p.shape.oid for p in found if p.kept and p.shape}):
                self._carry(part)

    def _parts(self, transactions: Sequence[Transaction]) -> Iterator[Sequence[Transaction]]:
        """Cut where a table is emptied: that is a DELETE of each of its rows by then."""
        whole: list[Transaction] = []
        for transaction in transactions:
            for emptied, changes in groupby(transaction.changes, lambda c: c.kind is Kind.TRUNCATE):
                if not emptied:
                    whole.append(replace(transaction, changes=tuple(changes)))
                    continue
                if whole:
                    yield whole
                deletes = [d for change in changes for d in self._deletes(change.relation)]
                whole = [replace(transaction, changes=tuple(deletes))]
                yield whole
                whole = []
        if whole:
            yield whole

    def _deletes(self, relation: Relation) -> Iterator[Change]:
        place = self.places.of(relation)
        if not place.kept:
            return
        keys, homes = self.ledger.diverged_keys(place.table)
        if place.shape is not None:
            columns = sql.SQL(", ").join(text_of(sql.Identifier(c)) for c in place.key)
            rows = self.connection.execute(
                sql.SQL("SELECT {} FROM {}").format(columns, place.shape.identifier)
            )
            keys |= {row for row in rows if row not in homes}
        for key in keys:
            yield Change(Kind.DELETE, relation, dict(zip(place.key, key, strict=True)))

    def _set_aside(self, transactions: Sequence[Transaction]) -> None:
        """What a migration wrote stays out of the copy; it is noted for what the shop writes there later."""
        entries = gather(transactions, self.places.of)
        for start in range(0, len(entries), CHUNK):
            self._attempt(entries[start : start + CHUNK], {}, own=True)

    def _carry(self, transactions: Sequence[Transaction]) -> None:
        """Once more in halves where the copy refuses, down to one transaction, down to one row."""
        entries = gather(transactions, self.places.of)
        if not entries:
            return
        try:
            self._settle(entries, {})
        except psycopg.Error as error:
            if not _refused(error):
                raise
            if len(transactions) > 1:
                middle = len(transactions) // 2
                self._carry(transactions[:middle])
                self._carry(transactions[middle:])
                return
            self._settle_one(entries)

    def _settle_one(self, entries: list[Entry]) -> None:
        """One transaction that does not fit as a whole."""
        refusals: Refusals = {}
        with self.connection.transaction(force_rollback=True):
            self._search(entries, refusals)
        try:
            self._settle(entries, refusals)
        except psycopg.Error as error:
            if not _refused(error):
                raise
            every = {_address(e): Refusal(failures.text(error)) for e in entries}
            self._settle(entries, every)

    def _search(self, entries: list[Entry], refusals: Refusals) -> None:
        """Which rows the copy refuses by themselves."""
        try:
            with self.connection.transaction():
                self._attempt(entries, {})
        except psycopg.Error as error:
            if not _refused(error):
                raise
            if len(entries) == 1:
                refusals[_address(entries[0])] = Refusal(failures.text(error))
                return
            middle = len(entries) // 2
            self._search(entries[:middle], refusals)
            self._search(entries[middle:], refusals)

    def _settle(self, entries: list[Entry], refusals: Refusals) -> None:
        """Attempt it until no row is in the way any more. Raises psycopg.Error when that can't be."""
        look = False
        while True:
            try:
                with self.connection.transaction() as attempt:
                    found = self._attempt(entries, refusals, look=look)
                    if not found:
                        self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                        self.connection.execute("SET CONSTRAINTS ALL DEFERRED")
                        break
                    raise psycopg.Rollback(attempt)
            except errors.ForeignKeyViolation:
                if look:
                    raise
                look = True
                continue
            self._merge(refusals, found)
        for lot in self._stage.lots:
            table = lot.shape.label
            self.ledger.carried[table] = self.ledger.carried.get(table, 0) + len(lot.operations)

    @staticmethod
    def _merge(refusals: Refusals, found: Refusals) -> None:
        for address, refusal in found.items():
            known = refusals.get(address)
            if known is None or not known.reason:
                refusals[address] = refusal
            elif refusal.columns - known.columns and known.columns:
                known.columns |= refusal.columns
            elif known.columns:
                known.columns.clear()
            else:
                raise errors.IntegrityError(f"a row of {address[0]} can't be left out")

    def _attempt(
        self, entries: list[Entry], refusals: Refusals, *, own: bool = False, look: bool = False
    ) -> Refusals:
        """Do it all, and say which rows have to be taken otherwise; nothing found: it is done."""
        light, careful = self._sorted(entries, refusals, own=own)
        operations = [*_light(light), *self._merged(careful, refusals, own=own)]
        self._stage.fill(operations)
        found = self._run(look=look)
        if not found:
            if not own:
                self._note_light(light)
            self._note_careful(careful)
        return found

    def _sorted(
        self, entries: list[Entry], refusals: Refusals, *, own: bool
    ) -> tuple[list[Entry], list[Careful]]:
        """Rows that are as the shop left them, and those that have to be merged."""
        by_place: dict[int, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_place[id(entry.place)].append(entry)
        light: list[Entry] = []
        careful: list[Careful] = []
        for found in by_place.values():
            place = found[0].place
            known = self._known(place, found)
            by_itself = []
            for entry in found:
                if (
                    own
                    or entry.key in known
                    or place.shape is None
                    or (entry.born and place.nowhere)
                    or _address(entry) in refusals
                ):
                    by_itself.append(entry)
                else:
                    light.append(entry)
            careful += self._careful(place, by_itself, known)
        return light, careful

    def _known(self, place: Place, entries: list[Entry]) -> dict[Key, tuple[Key | None, Row]]:
        if place.table not in self._diverged:
            return {}
        return self.ledger.diverged(place.table, [e.key for e in entries])

    def _careful(
        self, place: Place, entries: list[Entry], known: dict[Key, tuple[Key | None, Row]]
    ) -> Iterator[Careful]:
        homes = {e.key: known[e.key][0] if e.key in known else e.key for e in entries}
        rows = self._rows(place, [h for h in homes.values() if h is not None]) if place.shape else {}
        columns = frozenset(place.shape.types if place.shape else ()) - (
            place.shape.generated if place.shape else set()
        )
        for entry in entries:
            home = homes[entry.key]
            copy = rows.get(home) if home is not None else None
            there = known.get(entry.key)
            row = there[1] if there else Row((), None)
            row.columns, row.copy, row.nowhere, row.extra = columns, copy, place.nowhere, place.extra
            yield Careful(entry, home if copy is not None else None, row, there is not None)

    def _rows(self, place: Place, keys: list[Key]) -> dict[Key, dict[str, str | None]]:
        """Rows of the copy by key, as text."""
        shape = place.shape
        assert shape is not None, "asked for tables that are there"
        columns = [c for c in shape.types if c not in shape.generated]
        width = len(place.key)
        question = sql.SQL("SELECT {} FROM {} t JOIN unnest({}) AS u({}) ON {}").format(
            sql.SQL(", ").join(text_of(sql.Identifier("t", c)) for c in columns),
            shape.identifier,
            sql.SQL(", ").join([sql.SQL("%s::text[]")] * width),
            sql.SQL(", ").join(sql.SQL("k{}").format(sql.SQL(str(n))) for n in range(width)),
            sql.SQL(" AND ").join(
                sql.SQL("t.{} = {}").format(sql.Identifier(c), shape.cast(c, sql.Identifier("u", f"k{n}")))
                for n, c in enumerate(place.key)
            ),
        )
        found: dict[Key, dict[str, str | None]] = {}
        for row in self.connection.execute(
            question, [list(part) for part in zip(*keys, strict=True)] if keys else [[]] * width
        ):
            values = dict(zip(columns, row, strict=True))
            found[tuple(values[c] for c in place.key)] = values
        return found

    def _merged(self, careful: list[Careful], refusals: Refusals, *, own: bool) -> Iterator[Operation]:
        for one in careful:
            row, entry = one.row, one.entry
            before = dict(row.copy) if row.copy is not None else None
            for kind, new in entry.changes:
                (row.migrate if own else row.write)(kind, new)
            refusal = refusals.get(_address(entry))
            if refusal is not None and refusal.reason and row.copy != before:
                row.refuse(before, refusal.columns, refusal.reason)
            place, home = entry.place, one.home
            one.home = None if row.copy is None else tuple(row.copy.get(c) for c in place.key)
            if before is None and row.copy is not None:
                yield Operation(entry, Kind.INSERT, one.home or (), row.copy)
            elif before is not None and row.copy is None:
                yield Operation(entry, Kind.DELETE, home or (), {})
            elif before is not None and row.copy is not None and row.copy != before:
                changed = {c: v for c, v in row.copy.items() if before.get(c) != v}
                yield Operation(entry, Kind.UPDATE, home or (), changed)

    def _run(self, *, look: bool) -> Refusals:
        """What is staged; stops where a row has to be taken otherwise."""
        stage, found = self._stage, Refusals()
        for lot in stage.of(Kind.UPDATE):
            if stage.run(lot) != len(lot.operations):
                found |= {_address(o.entry): Refusal() for o in stage.missing(lot)}
        for lot in stage.of(Kind.DELETE):
            for reference in self.shapes.touching({lot.shape.oid}):
                if reference.parent == lot.shape.oid and (look or reference.acts):
                    table = self.shapes.tables[reference.child].label
                    for operation in stage.referred(lot, reference, self.shapes):
                        found[_address(operation.entry)] = Refusal(REFERRED.format(table=table))
        if found:
            return found
        for lot in sorted(stage.of(Kind.DELETE), key=lambda lot: -self.shapes.depth(lot.shape.oid)):
            stage.run(lot)
        for lot in stage.of(Kind.INSERT):
            stage.run(lot)
        return self._rounded() or (self._orphans() if look else found)

    def _rounded(self) -> Refusals:
        found = Refusals()
        for lot in (*self._stage.of(Kind.UPDATE), *self._stage.of(Kind.INSERT)):
            for column, kind in self.places.retyped.get(lot.shape.oid, {}).items():
                for o in self._stage.rounded(lot, column, kind) if column in lot.columns else ():
                    found.setdefault(_address(o.entry), Refusal(ROUNDED)).columns.add(column)
        return found

    def _orphans(self) -> Refusals:
        """Rows whose foreign keys don't hold; looked for only after the server said so."""
        found = Refusals()
        for lot in (*self._stage.of(Kind.UPDATE), *self._stage.of(Kind.INSERT)):
            for reference in self.shapes.touching({lot.shape.oid}):
                if reference.child == lot.shape.oid:
                    table = self.shapes.tables[reference.parent].label
                    for o in self._stage.orphans(lot, reference, self.shapes):
                        refusal = found.setdefault(_address(o.entry), Refusal(ORPHAN.format(table=table)))
                        refusal.columns |= set(reference.columns)
        return found

    def _note_light(self, light: list[Entry]) -> None:
        """Values that the copy has no column for are listed, and what is listed follows its row."""
        listed: list[tuple[str, Key, str, Conflict, float]] = []
        gone: dict[str, list[Key]] = defaultdict(list)
        for entry in light:
            table = entry.place.table
            if table in self._listed:
                if entry.gone or entry.born:
                    gone[table].append(entry.key)
                elif entry.now != entry.key:
                    self.ledger.rename(table, entry.key, entry.now)
            if entry.place.extra and not entry.gone:
                values = entry.values()
                for column, filled in entry.place.extra.items():
                    value = values.get(column)
                    if value is not None and value != filled:
                        conflict = Conflict(None, None, value, NO_COLUMN)
                        listed.append((table, entry.now, column, conflict, entry.seconds))
                    elif column in values and table in self._listed:
                        self.ledger.settle(table, [entry.now], column)
        for table, keys in gone.items():
            self.ledger.settle(table, keys)
        self._list(listed)

    def _note_careful(self, careful: list[Careful]) -> None:
        """What differs from now on, and what is listed as a conflict."""
        listed: list[tuple[str, Key, str, Conflict, float]] = []
        rows: list[tuple[str, Key, Key | None, Row]] = []
        known: dict[str, list[Key]] = defaultdict(list)
        for one in careful:
            entry, table = one.entry, one.entry.place.table
            if table in self._diverged:
                known[table] += {entry.key, entry.now}
            if not one.row.converged:
                rows.append((table, entry.now, one.home, one.row))
            if entry.now != entry.key and table in self._listed:
                self.ledger.rename(table, entry.key, entry.now)
            for column, conflict in one.row.conflicts.items():
                if conflict is not None:
                    listed.append((table, entry.now, column, conflict, entry.seconds))
                elif table in self._listed:
                    self.ledger.settle(table, [entry.now], column)
        for table, keys in known.items():
            self.ledger.forget(table, keys)
        self.ledger.note(rows)
        self._diverged |= {table for table, *_ in rows}
        self._list(listed)

    def _list(self, listed: list[tuple[str, Key, str, Conflict, float]]) -> None:
        self.ledger.conflict(listed)
        self._listed |= {table for table, *_ in listed}


def _light(entries: list[Entry]) -> Iterator[Operation]:
    for entry in entries:
        if entry.gone:
            if not entry.born:
                yield Operation(entry, Kind.DELETE, entry.key, {})
            continue
        shape, values = entry.place.shape, entry.values()
        assert shape is not None, "a row of a table that is not there is merged by itself"
        if entry.place.extra or shape.generated:
            values = {c: v for c, v in values.items() if c in shape.types and c not in shape.generated}
        yield Operation(entry, Kind.INSERT if entry.born else Kind.UPDATE, entry.key, values)


def _address(entry: Entry) -> Address:
    return entry.place.table, entry.key


def _refused(error: psycopg.Error) -> bool:
    """Whether it is the rows' fault, so that fewer of them may go well."""
    others = (errors.OperationalError, errors.InterfaceError, errors.InsufficientPrivilege)
    return not isinstance(error, others)
