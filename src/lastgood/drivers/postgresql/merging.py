"""What becomes of one row that a migration and the shop both wrote. Pure.

The copy holds a row as the shop left it, the live database as both left it. A column that differs
for the migration's sake is *set aside*; when the shop changes it too, nobody can tell what the shop would
have written without the migration, and that is a conflict.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from lastgood.sql.changes import Kind
from lastgood.sql.conflicts import (
    BOTH,
    DELETED,
    FOLLOWS,
    INSERTED,
    NO_COLUMN,
    NO_ROW,
    WHOLE,
    Conflict,
    Values,
    as_json,
)


@dataclass
class Row:
    """``copy`` and ``live``: the row there, None when it is not; ``columns``: those of the copy. ``aside``:
    columns that differ, with the migration's value. ``whole``: the two rows have nothing to do with each
    other, or only one exists; ``migrated`` then is the migration's row. ``reason``: why columns are aside.
    ``nowhere``: why a new row can't be put into the copy. ``extra``: columns that the copy lacks, with what
    ADD COLUMN filled in. ``fresh``: nothing happened to it yet, so that both rows are alike.

    ``conflicts``: what changed in the list of conflicts, by column; None is one that is over.
    """

    columns: Collection[str]
    copy: dict[str, str | None] | None
    live: dict[str, str | None] | None = None
    aside: dict[str, str | None] = field(default_factory=dict)
    whole: bool = False
    migrated: dict[str, str | None] | None = None
    reason: str = BOTH
    conflicts: dict[str, Conflict | None] = field(default_factory=dict)
    nowhere: str = ""
    extra: Values = field(default_factory=dict)
    fresh: bool = True

    @property
    def converged(self) -> bool:
        """The copy holds the row as the live database does."""
        return not self.whole and not self.aside and (self.copy is None) == (self.live is None)

    def migrate(self, kind: Kind, new: Values) -> None:
        """A change by the migration: the copy stays as it is."""
        before = self._begin(kind)
        if kind is Kind.DELETE:
            self.live, self.migrated, self.aside = None, None, {}
            self.whole = self.copy is not None
            return
        self.live = {**before, **new}
        if self.copy is None or (self.whole and kind is Kind.UPDATE):
            self.whole, self.migrated = True, dict(self.live)
            return
        self.whole = False
        for column, value in new.items():
            if kind is Kind.UPDATE and value == before.get(column):
                continue
            if value == self.copy.get(column, self.extra.get(column)):
                self.aside.pop(column, None)
            else:
                self.aside[column] = value

    def write(self, kind: Kind, new: Values) -> None:
        """A change by the shop: it goes to the copy where the migration is not in its way."""
        before = self._begin(kind)
        if kind is Kind.DELETE:
            self._delete()
            return
        self.live = {**before, **new}
        if kind is Kind.INSERT and self.copy is None and not self.nowhere:
            self.copy = {c: v for c, v in new.items() if c in self.columns}
            self.whole, self.aside, self.migrated = False, {}, None
            self._over()
            self._write_extra({}, new)
        elif self.copy is None or self.whole or kind is Kind.INSERT:
            self._write_whole()
        else:
            for column, value in new.items():
                if column in self.copy and value != before.get(column):
                    self._write_column(self.copy, column, value)
            self._write_extra(before, new)

    def refuse(self, before: Values | None, columns: Collection[str], reason: str) -> None:
        """The copy can't hold what came of it: back to ``before``; of a changed row only ``columns`` (all
        when empty).
        """
        after, self.reason = self.copy, FOLLOWS
        if before is None or after is None:
            self.copy, self.whole = (None if before is None else dict(before)), True
            self._over()
            self.conflicts[WHOLE] = Conflict(as_json(before), None, as_json(self.live), reason)
            return
        for column, value in after.items():
            if column in before and value != before[column] and (not columns or column in columns):
                self.conflicts[column] = Conflict(before[column], None, value, reason)
                self.aside[column] = None
        self.copy = {c: before[c] if c in self.aside and c in before else v for c, v in after.items()}

    def _begin(self, kind: Kind) -> dict[str, str | None]:
        """The live row before; at the first change it is known from the copy alone."""
        if self.fresh:
            self.fresh = False
            self.live = None if kind is Kind.INSERT or self.copy is None else dict(self.copy)
        return dict(self.live or {}) if kind is Kind.UPDATE else {}

    def _delete(self) -> None:
        self.live = None
        if self.copy is not None and not self.whole:
            self.copy = None
        self.aside, self.migrated = {}, None
        self.whole = self.copy is not None
        self._over()

    def _write_whole(self) -> None:
        live = self.live or {}
        if self.copy is not None and all(live.get(c) == v for c, v in self.copy.items()):
            self.whole, self.aside = False, {}
            self._over()
            return
        self.whole = True
        reason = INSERTED if self.migrated is not None else self.nowhere or NO_ROW
        reason = reason if self.copy is None else DELETED
        self.conflicts[WHOLE] = Conflict(as_json(self.copy), as_json(self.migrated), as_json(live), reason)

    def _write_column(self, copy: dict[str, str | None], column: str, value: str | None) -> None:
        if column in self.aside and value != copy[column]:
            self.conflicts[column] = Conflict(copy[column], self.aside[column], value, self.reason)
            return
        copy[column] = value
        if self.aside.pop(column, self) is not self:
            self.conflicts[column] = None

    def _write_extra(self, before: Values, new: Values) -> None:
        """Values for which the copy has no column."""
        for column in self.extra.keys() & new.keys():
            value = new[column]
            if value == before.get(column, self.extra[column]):
                continue
            written = value is not None and value != self.extra[column]
            aside = self.aside.get(column)
            self.conflicts[column] = Conflict(None, aside, value, NO_COLUMN) if written else None

    def _over(self) -> None:
        """No conflict of this row stands any more."""
        self.conflicts = {"*": None}
