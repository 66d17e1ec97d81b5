"""One attempt to carry rows into the copy: it is done, or it says which rows have to be taken otherwise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lastgood.drivers.postgresql.changes import Kind
from lastgood.drivers.postgresql.connection import Connection
from lastgood.drivers.postgresql.entries import Entry, Key, Place, Places
from lastgood.drivers.postgresql.ledger import ALL, Ledger
from lastgood.drivers.postgresql.merging import Row
from lastgood.drivers.postgresql.shapes import Shapes
from lastgood.drivers.postgresql.staging import Operation, Stage, read_rows
from lastgood.sql.conflicts import NO_COLUMN, ORPHAN, REFERRED, ROUNDED, Conflict

REMEMBERED = 200_000
"""Diverged rows of a table up to which their keys are kept in memory."""

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
    """A row that is merged by itself; ``home``: its key in the copy, None when it is not there."""

    entry: Entry
    home: Key | None
    row: Row


@dataclass
class Attempts:
    """Attempts in the copy that ``connection`` is in, whose tables are ``shapes``."""

    connection: Connection
    shapes: Shapes
    places: Places
    ledger: Ledger

    def __post_init__(self) -> None:
        self._stage = Stage(self.connection)
        # Never too few of them: what an attempt took back may stay here.
        self._diverged = self.ledger.all_diverged(REMEMBERED)
        self._listed = self.ledger.tables_with_conflicts()

    def count(self) -> None:
        """The last attempt holds."""
        for lot in self._stage.lots:
            table = lot.shape.label
            self.ledger.carried[table] = self.ledger.carried.get(table, 0) + len(lot.operations)

    def do(
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
            if not (own or known or refusals or place.nowhere):
                light += found
                continue
            by_itself = []
            for entry in found:
                if (
                    own
                    or entry.key in known
                    or place.shape is None
                    or (entry.born and place.nowhere)
                    or address(entry) in refusals
                ):
                    by_itself.append(entry)
                else:
                    light.append(entry)
            careful += self._careful(place, by_itself, known)
        return light, careful

    def _known(self, place: Place, entries: list[Entry]) -> dict[Key, tuple[Key | None, Row]]:
        if place.table not in self._diverged:
            return {}
        remembered = self._diverged[place.table]
        keys = [e.key for e in entries if remembered is None or e.key in remembered]
        return self.ledger.diverged(place.table, keys) if keys else {}

    def _careful(
        self, place: Place, entries: list[Entry], known: dict[Key, tuple[Key | None, Row]]
    ) -> Iterator[Careful]:
        homes = {e.key: known[e.key][0] if e.key in known else e.key for e in entries}
        rows: Mapping[Key, dict[str, str | None]] = {}
        columns: tuple[str, ...] = ()
        if place.shape is not None:
            columns = place.shape.written
            wanted = [home for home in homes.values() if home is not None]
            rows = read_rows(self.connection, place.shape, place.key, wanted)
        for entry in entries:
            home = homes[entry.key]
            copy = rows.get(home) if home is not None else None
            there = known.get(entry.key)
            row = there[1] if there else Row((), None)
            row.columns, row.copy, row.nowhere, row.extra = columns, copy, place.nowhere, place.extra
            yield Careful(entry, home if copy is not None else None, row)

    def _merged(self, careful: list[Careful], refusals: Refusals, *, own: bool) -> Iterator[Operation]:
        for one in careful:
            row, entry = one.row, one.entry
            before = dict(row.copy) if row.copy is not None else None
            for kind, new in entry.changes:
                (row.migrate if own else row.write)(kind, new)
            refusal = refusals.get(address(entry))
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
                found |= {address(o.entry): Refusal() for o in stage.missing(lot)}
        for lot in stage.of(Kind.DELETE):
            for reference in self.shapes.touching({lot.shape.oid}):
                if reference.parent == lot.shape.oid and (look or reference.acts):
                    table = self.shapes.tables[reference.child].label
                    for operation in stage.referred(lot, reference, self.shapes):
                        found[address(operation.entry)] = Refusal(REFERRED.format(table=table))
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
                    found.setdefault(address(o.entry), Refusal(ROUNDED)).columns.add(column)
        return found

    def _orphans(self) -> Refusals:
        """Rows whose foreign keys don't hold; looked for only after the server said so."""
        found = Refusals()
        for lot in (*self._stage.of(Kind.UPDATE), *self._stage.of(Kind.INSERT)):
            for reference in self.shapes.touching({lot.shape.oid}):
                if reference.child == lot.shape.oid:
                    table = self.shapes.tables[reference.parent].label
                    for o in self._stage.orphans(lot, reference, self.shapes):
                        refusal = found.setdefault(address(o.entry), Refusal(ORPHAN.format(table=table)))
                        refusal.columns |= set(reference.columns)
        return found

    def _note_light(self, light: list[Entry]) -> None:
        """Values that the copy has no column for are listed, and what is listed follows its row."""
        listed: list[tuple[str, Key, str, Conflict, float]] = []
        settled: dict[tuple[str, str], list[Key]] = defaultdict(list)
        for entry in light:
            table = entry.place.table
            if table in self._listed:
                if entry.gone or entry.born:
                    settled[table, ALL].append(entry.key)
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
                        settled[table, column].append(entry.now)
        # Row by row it would be a round trip for each, and a shop writes faster than that.
        for (table, column), keys in settled.items():
            self.ledger.settle(table, keys, column)
        self._list(listed)

    def _note_careful(self, careful: list[Careful]) -> None:
        """What differs from now on, and what is listed as a conflict."""
        listed: list[tuple[str, Key, str, Conflict, float]] = []
        rows: list[tuple[str, Key, Key | None, Row]] = []
        known: dict[str, list[Key]] = defaultdict(list)
        for one in careful:
            entry, table = one.entry, one.entry.place.table
            if table in self._diverged:
                remembered = self._diverged[table]
                known[table] += (k for k in {entry.key, entry.now} if remembered is None or k in remembered)
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
        for table, key, *_ in rows:
            remembered = self._diverged.setdefault(table, set())
            if remembered is not None:
                remembered.add(key)
        self._list(listed)

    def _list(self, listed: list[tuple[str, Key, str, Conflict, float]]) -> None:
        self.ledger.conflict(listed)
        self._listed |= {table for table, *_ in listed}


def address(entry: Entry) -> Address:
    return entry.place.table, entry.key


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
