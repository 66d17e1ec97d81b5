"""Rows written in the live database, carried into the copy: all at once, and where the copy refuses, in ever
smaller parts, until the rows that it can't hold are known. Those are listed as conflicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import psycopg
from psycopg import errors, sql

from lastgood.drivers.postgresql import failures
from lastgood.drivers.postgresql.attempt import Attempts, Refusal, Refusals, address
from lastgood.drivers.postgresql.changes import Change, Kind, Relation, Transaction
from lastgood.drivers.postgresql.connection import Connection
from lastgood.drivers.postgresql.entries import Entry, Places, gather
from lastgood.drivers.postgresql.ledger import Ledger
from lastgood.drivers.postgresql.loosening import loosened
from lastgood.drivers.postgresql.shapes import Shapes
from lastgood.drivers.postgresql.staging import text_of

CHUNK = 20_000
"""Rows that are merged at a time."""

IN_ORDER = 1_000
"""Changes of one transaction that may be carried one by one."""


@dataclass
class Carrier:
    """Carries into the copy that ``connection`` is in, whose tables are ``shapes``."""

    connection: Connection
    shapes: Shapes
    places: Places
    ledger: Ledger

    def __post_init__(self) -> None:
        self._attempts = Attempts(self.connection, self.shapes, self.places, self.ledger)

    def carry(self, transactions: Sequence[Transaction]) -> None:
        """Of the shop alone, or one migration; inside the caller's transaction. Raises psycopg.Error."""
        for part in self._parts(transactions):
            if part[0].own:
                self._set_aside(part)
                continue
            relations = {id(c.relation): c.relation for t in part for c in t.changes}
            found = [self.places.of(relation) for relation in relations.values()]
            with loosened(self.connection, self.shapes, {p.shape.oid for p in found if p.kept and p.shape}):
                self._carry(part)

    def _parts(self, transactions: Sequence[Transaction]) -> Iterator[Sequence[Transaction]]:
        """Cut where a table is emptied: that is a DELETE of each of its rows by then."""
        whole: list[Transaction] = []
        for transaction in transactions:
            if all(change.kind is not Kind.TRUNCATE for change in transaction.changes):
                whole.append(transaction)
                continue
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
        for entries in gather(transactions, self.places.of):
            for start in range(0, len(entries), CHUNK):
                self._attempts.do(entries[start : start + CHUNK], {}, own=True)

    def _carry(self, transactions: Sequence[Transaction]) -> None:
        """Once more in halves where the copy refuses, down to one transaction, down to one row."""
        groups = list(gather(transactions, self.places.of))
        try:
            if len(groups) > 1:
                raise errors.IntegrityError("keys were passed on from row to row")
            for entries in groups:
                self._settle(entries, {})
        except psycopg.Error as error:
            if not _refused(error):
                raise
            if len(transactions) > 1:
                middle = len(transactions) // 2
                self._carry(transactions[:middle])
                self._carry(transactions[middle:])
                return
            if not self._in_order(transactions[0]):
                for entries in groups:
                    self._settle_one(entries)

    def _in_order(self, transaction: Transaction) -> bool:
        """Change by change, as the live database went through it; whether that was possible."""
        if len(transaction.changes) > IN_ORDER:
            return False
        carried = dict(self.ledger.carried)
        try:
            with self.connection.transaction() as attempt:
                for change in transaction.changes:
                    for entries in gather([replace(transaction, changes=(change,))], self.places.of):
                        if self._attempts.do(entries, {}):
                            raise psycopg.Rollback(attempt)
                        self._attempts.count()
                self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
                return True
        except psycopg.Error as error:
            if not _refused(error):
                raise
        self.ledger.carried = carried
        return False

    def _settle_one(self, entries: list[Entry]) -> None:
        """Of one transaction that does not fit as a whole."""
        refusals: Refusals = {}
        try:
            with self.connection.transaction(force_rollback=True):
                self._search(entries, refusals)
            self._settle(entries, refusals)
        except psycopg.Error as error:
            if not _refused(error):
                raise
            every = {address(e): Refusal(failures.text(error)) for e in entries}
            self._settle(entries, every)

    def _search(self, entries: list[Entry], refusals: Refusals) -> None:
        """Which rows the copy refuses by themselves; the others are done."""
        try:
            with self.connection.transaction() as attempt:
                found = self._attempts.do(entries, refusals)
                if not found:
                    return
                raise psycopg.Rollback(attempt)
        except psycopg.Error as error:
            if not _refused(error):
                raise
            if len(entries) > 1:
                middle = len(entries) // 2
                self._search(entries[:middle], refusals)
                self._search(entries[middle:], refusals)
                return
            found = {address(entries[0]): Refusal(failures.text(error))}
        self._merge(refusals, found)
        self._search(entries, refusals)

    def _settle(self, entries: list[Entry], refusals: Refusals) -> None:
        """Attempt it until no row is in the way any more. Raises psycopg.Error when that can't be."""
        look = False
        while True:
            try:
                with self.connection.transaction() as attempt:
                    found = self._attempts.do(entries, refusals, look=look)
                    if not found:
                        self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
                        break
                    raise psycopg.Rollback(attempt)
            except errors.ForeignKeyViolation:
                if look:
                    raise
                look = True
                continue
            self._merge(refusals, found)
        self._attempts.count()

    @staticmethod
    def _merge(refusals: Refusals, found: Refusals) -> None:
        for where, refusal in found.items():
            known = refusals.get(where)
            if known is None or (refusal.reason and not known.reason):
                refusals[where] = refusal
            elif refusal.columns - known.columns and known.columns:
                known.columns |= refusal.columns
            elif known.columns:
                known.columns.clear()
            else:
                raise errors.IntegrityError(f"a row of {where[0]} can't be left out")


def _refused(error: psycopg.Error) -> bool:
    """Whether it is the rows' fault, so that fewer of them may go well."""
    others = (errors.OperationalError, errors.InterfaceError, errors.InsufficientPrivilege)
    return not isinstance(error, others)
