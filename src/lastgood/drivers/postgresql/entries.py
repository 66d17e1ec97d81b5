"""Changes of many transactions, gathered by row: what is to be done to each row in the end. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from lastgood.drivers.postgresql.changes import Change, Kind, Relation, Transaction
from lastgood.drivers.postgresql.shapes import Shape, Shapes, label
from lastgood.sql.conflicts import Values

Key = tuple[str | None, ...]


@dataclass(frozen=True)
class Place:
    """Where the changes of a table go. ``shape`` None: the copy has no such table, or no way to find its
    rows. ``nowhere``: why a new row can't be put into the copy. ``extra``: columns that the copy lacks, with
    what ADD COLUMN filled in. ``serials``: columns that a sequence of the copy numbers.
    """

    table: str
    key: tuple[str, ...]
    shape: Shape | None
    kept: bool
    nowhere: str = ""
    extra: Values = field(default_factory=dict)
    serials: tuple[str, ...] = ()


@dataclass(slots=True)
class Entry:
    """One row: ``key`` in the live database before the first of ``changes``, ``now`` after the last.

    ``seconds`` since the epoch: when the last was committed.
    """

    place: Place
    key: Key
    now: Key
    seconds: float
    changes: list[tuple[Kind, Values]] = field(default_factory=list)

    @property
    def born(self) -> bool:
        return self.changes[0][0] is Kind.INSERT

    @property
    def gone(self) -> bool:
        return self.changes[-1][0] is Kind.DELETE

    def values(self) -> Values:
        """The row's last values, as far as they were written here."""
        if len(self.changes) == 1:
            return self.changes[0][1]
        found: dict[str, str | None] = {}
        for kind, new in self.changes:
            if kind is not Kind.UPDATE:
                found = {}
            found.update(new)
        return found


@dataclass
class Places:
    """The copy's tables as the stream names them; ``keep`` empty: all are carried over.

    ``now``: the live database's. ``names``: those at the cut, by the oid that a table keeps when it is
    renamed. ``serials``: columns by table that a sequence of the copy numbers.
    ``retyped`` is filled on the way: for tables of the copy the type that a column has now.
    """

    shapes: Shapes
    now: Shapes
    keep: frozenset[str]
    names: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    serials: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    retyped: dict[int, dict[str, str]] = field(default_factory=dict)
    _found: dict[int, tuple[Relation, Place]] = field(default_factory=dict)

    def of(self, relation: Relation) -> Place:
        known = self._found.get(id(relation))
        if known is None:
            # The relation is kept with it, so that its id is nobody else's.
            known = self._found[id(relation)] = (relation, self._look(relation))
        return known[1]

    def _look(self, relation: Relation) -> Place:
        name = self.names.get(relation.oid, (relation.schema, relation.name))
        table = label(*name)
        shape = self.shapes.by_name.get(name)
        kept = not self.keep or table in self.keep or (shape is not None and shape.root in self.keep)
        if shape is None:
            return Place(table, relation.key, None, kept, "the old shape has no such table")
        key = shape.key_for(relation)
        serials = self.serials.get(name, ())
        if not key:
            return Place(
                table, relation.key, None, kept, "the old shape has no key that finds its rows", {}, serials
            )
        missing = sorted(shape.required - set(relation.columns))
        nowhere = f"the old shape needs {', '.join(missing)}" if missing else ""
        now = self.now.tables.get(relation.oid)
        filled = now.filled if now else {}
        extra = {c: filled.get(c) for c in relation.columns if c not in shape.types}
        if now:
            types = ((c, now.exact.get(c)) for c in shape.types)
            self.retyped[shape.oid] = {c: t for c, t in types if t and t != shape.exact[c]}
        return Place(table, key, shape, kept, nowhere, extra, serials)


def highest(transactions: Iterable[Transaction], places: Places, numbers: dict[str, int]) -> None:
    """Note the highest number that was given to a row, by ``table.column``."""
    for transaction in transactions:
        for change in transaction.changes:
            place = places.of(change.relation) if change.kind is Kind.INSERT else None
            for column in place.serials if place else ():
                value, name = change.new.get(column), f"{place.table}.{column}" if place else ""
                if value is not None and int(value) > numbers.get(name, 0):
                    numbers[name] = int(value)


def gather(
    transactions: Iterable[Transaction], place_of: Callable[[Relation], Place]
) -> Iterator[list[Entry]]:
    """The rows of kept tables, in the order in which they were first changed. Mostly one list; another one
    begins where a row gets the key that a row of the list had before. Truncates are not looked at.
    """
    entries: list[Entry] = []
    present: dict[tuple[str, Key], Entry] = {}
    moved: set[tuple[str, Key]] = set()
    for transaction in transactions:
        for change in transaction.changes:
            place = place_of(change.relation)
            if not place.kept or change.kind is Kind.TRUNCATE:
                continue
            key, now = _keys(change, place.key)
            if moved and ((place.table, key) in moved or (place.table, now) in moved):
                yield entries
                entries, present, moved = [], {}, set()
            entry = present.get((place.table, key))
            if entry is None:
                entry = Entry(place, key, key, transaction.seconds)
                entries.append(entry)
                present[place.table, key] = entry
            elif entry.place is not place:
                # The table was altered in between.
                entry.place = replace(place, extra={**entry.place.extra, **place.extra})
            entry.changes.append((change.kind, change.new))
            entry.seconds = transaction.seconds
            if now != key:
                moved.add((place.table, key))
                del present[place.table, key]
                present[place.table, now] = entry
                entry.now = now
    if entries:
        yield entries


def _keys(change: Change, columns: tuple[str, ...]) -> tuple[Key, Key]:
    """The row's key before and after."""
    new, old = change.new, change.old
    if not old:
        key = tuple(map(new.get, columns))
        return key, key
    before = tuple(map(old.get, columns))
    return before, before if change.kind is Kind.DELETE else tuple([new.get(c, old.get(c)) for c in columns])
