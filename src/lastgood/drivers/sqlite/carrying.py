"""The shop's rows put into the copy, which holds the snapshot. Nothing acts there meanwhile: what triggers
and foreign keys did in the live database is among the rows already.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from lastgood.drivers.sqlite.connection import PREFIX, Connection, exists, one, quoted, rows
from lastgood.drivers.sqlite.ledger import Ledger
from lastgood.drivers.sqlite.merging import Merge, Row, Value, same, text
from lastgood.drivers.sqlite.references import Reference, read_references
from lastgood.drivers.sqlite.salvage import NOW, Key, Salvager
from lastgood.drivers.sqlite.shapes import Table
from lastgood.sql.conflicts import NO_TABLE, ORPHAN, REFERRED, WHOLE, Conflict, as_json

_ROUNDS = 100
"""Of putting rows back for what refers to them; each leaves fewer."""


@dataclass
class Carrier:
    """Into the database of ``salvager.connection``, inside a transaction of the caller's. ``keep`` empty: all
    tables. ``carried``: rows that are not as at the cut, by table and key.
    """

    salvager: Salvager
    ledger: Ledger
    keep: frozenset[str]
    carried: dict[tuple[str, Key], Merge] = field(default_factory=dict)

    def carry(self) -> None:
        """Raises sqlite3.Error."""
        triggers = rows(
            self._connection,
            "SELECT name, sql FROM main.sqlite_schema WHERE type = 'trigger' ORDER BY rowid",
        )
        for name, _ in triggers:
            self._connection.execute(f"DROP TRIGGER main.{quoted(name)}")
        for name in sorted(self.salvager.cut.keys() | self.salvager.now.keys()):
            if not self.keep or name in self.keep:
                self._carry(name)
        self._put_back()
        self._surpass()
        for _, statement in triggers:
            self._connection.execute(statement)
        for name, _ in self.carried:
            self.ledger.carried[name] = self.ledger.carried.get(name, 0) + 1

    @property
    def _connection(self) -> Connection:
        return self.salvager.connection

    def _carry(self, name: str) -> None:
        table = self.salvager.cut.get(name)
        wanted: list[tuple[Key, Merge]] = []
        for key, merge in self.salvager.merges(name):
            if table is None:
                if merge.touched and (merge.kept is not None or merge.conflicts):
                    shop = as_json(_texts(merge.live))
                    self.ledger.conflict(name, key, WHOLE, Conflict(None, None, shop, NO_TABLE))
                continue
            merge.fit(frozenset(table.names))
            for column, conflict in merge.conflicts.items():
                self.ledger.conflict(name, key, column, conflict)
            if not _alike(merge.cut, merge.kept):
                wanted.append((key, merge))
        if table is None:
            return
        # All go first: two rows may have changed what only one of them can have.
        for key, merge in wanted:
            if merge.cut is not None:
                self._delete(table, key)
        for key, merge in wanted:
            error = self._insert(table, merge.kept)
            if error is None:
                self.carried[name, key] = merge
            else:
                self._revert(table, key, merge, error)

    def _revert(self, table: Table, key: Key, merge: Merge, reason: str) -> None:
        """The row is as at the cut; what the shop had made of it is listed."""
        self.carried.pop((table.name, key), None)
        self._delete(table, key)
        self._insert(table, merge.cut)
        shop = as_json(_texts(merge.kept))
        self.ledger.conflict(table.name, key, WHOLE, Conflict(as_json(_texts(merge.cut)), None, shop, reason))

    def _delete(self, table: Table, key: Key) -> None:
        foreign = tuple(map(_foreign, key))
        self._connection.execute(_deleting(table, foreign), _told(key, foreign))

    def _insert(self, table: Table, row: Row | None) -> str | None:
        """Why it could not be."""
        if row is None:
            return None
        names = tuple(name for name in table.names if name in row)
        values = [row[name] for name in names]
        foreign = tuple(map(_foreign, values))
        try:
            self._connection.execute(_inserting(table.name, names, foreign), _told(values, foreign))
        except sqlite3.IntegrityError as error:
            return str(error)
        return None

    def _put_back(self) -> None:
        """No row refers to one that is not there, unless it did so in the live database or at the cut."""
        references = read_references(self._connection, self.salvager.cut)
        for _ in range(_ROUNDS):
            written = {name for name, _ in self.carried}
            found = [
                (reference, key)
                for reference in references
                if {reference.child.name, reference.parent.name} & written
                for key in reference.broken(self._connection, self.salvager.now)
            ]
            if not sum(self._mend(reference, key) for reference, key in found):
                return

    def _mend(self, reference: Reference, key: Key) -> bool:
        child = self.carried.get((reference.child.name, key))
        if child is not None:
            self._revert(reference.child, key, child, ORPHAN.format(table=reference.parent.name))
            return True
        mended = False
        for parent in reference.parents(self._connection, key):
            merge = self.carried.get((reference.parent.name, parent))
            if merge is not None:
                self._revert(reference.parent, parent, merge, REFERRED.format(table=reference.child.name))
                mended = True
        return mended

    def _surpass(self) -> None:
        """AUTOINCREMENT goes on behind the highest number that the failed database gave."""
        sequence = "sqlite_sequence"
        if not exists(self._connection, sequence):
            return
        known = one(self._connection, f"SELECT 1 FROM {NOW}.sqlite_schema WHERE name = ?", sequence)
        handed_out = rows(self._connection, f"SELECT name, seq FROM {NOW}.{sequence}") if known else []
        for name, number in handed_out:
            there = one(
                self._connection,
                "SELECT 1 FROM main.sqlite_schema WHERE name = ? AND sql LIKE '%autoincrement%'",
                name,
            )
            if not there or str(name).startswith(PREFIX):
                continue
            present = one(self._connection, f"SELECT seq FROM main.{sequence} WHERE name = ?", name)
            if present is None:
                self._connection.execute(f"INSERT INTO main.{sequence} VALUES (?, ?)", (name, number))
            elif present < number:
                self._connection.execute(f"UPDATE main.{sequence} SET seq = ? WHERE name = ?", (number, name))


def _alike(one_: Row | None, other: Row | None) -> bool:
    if one_ is None or other is None:
        return one_ is other
    return one_.keys() == other.keys() and all(same(value, other[column]) for column, value in one_.items())


def _texts(row: Row | None) -> dict[str, str | None] | None:
    return None if row is None else {column: text(value) for column, value in row.items()}


def _foreign(value: Value) -> bool:
    """Text that is no UTF-8 goes as bytes, and becomes text again."""
    return isinstance(value, str) and not value.isascii() and any(0xDC80 <= ord(c) <= 0xDCFF for c in value)


def _told(values: Sequence[Value], foreign: Sequence[bool]) -> Sequence[Value]:
    """As they are handed to the library."""
    if not any(foreign):
        return values
    return [
        value.encode("utf-8", "surrogateescape") if strange and isinstance(value, str) else value
        for value, strange in zip(values, foreign, strict=True)
    ]


def _place(strange: bool) -> str:
    return "CAST(? AS TEXT)" if strange else "?"


@lru_cache(maxsize=64)
def _inserting(table: str, names: tuple[str, ...], foreign: tuple[bool, ...]) -> str:
    places = ", ".join(map(_place, foreign))
    return f"INSERT INTO main.{quoted(table)} ({', '.join(map(quoted, names))}) VALUES ({places})"


@lru_cache(maxsize=64)
def _deleting(table: Table, foreign: tuple[bool, ...]) -> str:
    match = " AND ".join(
        f"{quoted(column)} IS {_place(strange)}" for column, strange in zip(table.key, foreign, strict=True)
    )
    return f"DELETE FROM main.{quoted(table.name)} WHERE {match}"
