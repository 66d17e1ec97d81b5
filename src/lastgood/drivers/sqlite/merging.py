"""What becomes of one row that the shop wrote to, and perhaps a migration. Pure.

The row is followed through the states that are known of it: at the cut, before and after each migration, now.
Between a migration and the next one, and at both ends, whatever changed is the shop's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lastgood.sql.conflicts import BOTH, DELETED, INSERTED, NO_COLUMN, WHOLE, Conflict, as_json

Value = int | float | str | bytes | None
Row = Mapping[str, Value]

GONE = "the migration changed this row, and the shop deleted it"


@dataclass(frozen=True)
class Step:
    """What a migration did: None is no row. ``doubt``: its key does not tell that it is the same row."""

    before: Row | None
    after: Row | None
    doubt: bool


@dataclass
class Merge:
    """``kept``: what the restored database holds of it, so far; ``live``: what the live one held then.

    ``apart``: both are there and have nothing to do with each other. ``conflicts`` by column. ``usual``: what
    columns hold that came since, where nobody wrote to them.
    """

    cut: Row | None
    usual: Row
    kept: dict[str, Value] | None = None
    live: Row | None = None
    apart: bool = False
    doubt: bool = False
    conflicts: dict[str, Conflict] = field(default_factory=dict)
    touched: bool = False

    @classmethod
    def of(cls, cut: Row | None, steps: Sequence[Step], now: Row | None, usual: Row) -> Merge:
        merge = cls(cut, usual, None if cut is None else dict(cut), cut)
        for step in steps:
            merge._shop(step.before)
            merge._migrate(step)
        merge._shop(now)
        return merge

    @property
    def counted(self) -> str:
        """As what it counts among the shop's writes: ``inserted``, ``updated``, ``deleted``, or nothing."""
        if not self.touched or (self.cut is None and self.kept is None and not self.conflicts):
            return ""
        if self.cut is None:
            return "inserted"
        deleted = self.kept is None or (self.live is None and WHOLE in self.conflicts)
        return "deleted" if deleted else "updated"

    def _migrate(self, step: Step) -> None:
        self.doubt = self.doubt or step.doubt
        if step.after is None:
            self.apart = False
        elif step.before is None:
            self.apart = self.apart or (step.doubt and self.kept is not None)
        elif step.doubt and self.kept is not None:
            self.apart = True
        self.live = step.after

    def _shop(self, new: Row | None) -> None:
        was, self.live = self.live, new
        if new is None:
            if was is not None:
                self._delete(was)
        elif was is None:
            self._insert(new)
        else:
            written = {c: v for c, v in new.items() if not same(v, self._held(was, c))}
            if written:
                self._update(was, new, written)

    def _delete(self, was: Row) -> None:
        self.touched = True
        if self.doubt and (self.apart or self.kept is None):
            self._whole(GONE, was, None)
            return
        if not self.apart:
            self.kept = None
        self.apart, self.conflicts = False, {}

    def _insert(self, new: Row) -> None:
        self.touched = True
        if self.kept is None and not self.apart:
            self.kept = dict(new)
            self.conflicts = {}
            return
        if self.kept is not None and all(same(v, new.get(c)) for c, v in self.kept.items()):
            self.apart = False
            return
        self.apart = True
        self._whole(DELETED, None, new)

    def _update(self, was: Row, new: Row, written: Row) -> None:
        self.touched = True
        if self.kept is None or self.apart:
            self._whole(INSERTED if self.kept is None else BOTH, was, new)
            return
        for column, value in written.items():
            held, before = self._held(self.kept, column), self._held(was, column)
            if same(held, before) or same(held, value):
                self.kept[column] = value
                self.conflicts.pop(column, None)
            else:
                self.conflicts[column] = Conflict(text(held), text(before), text(value), BOTH)

    def _held(self, row: Row, column: str) -> Value:
        return row[column] if column in row else self.usual.get(column)

    def _whole(self, reason: str, migration: Row | None, shop: Row | None) -> None:
        self.conflicts[WHOLE] = Conflict(
            as_json(_texts(self.kept)), as_json(_texts(migration)), as_json(_texts(shop)), reason
        )

    def fit(self, columns: frozenset[str]) -> None:
        """To the restored table's shape: what the shop wrote and there is no column for is a conflict."""
        for column in [c for c in self.kept or () if c not in columns]:
            assert self.kept is not None, "it has a column"
            value = self.kept.pop(column)
            if not same(value, self.usual.get(column)):
                self.conflicts[column] = Conflict(None, None, text(value), NO_COLUMN)


def same(one: Value, other: Value) -> bool:
    """A number and its text are not the same, nor are 1 and 1.0."""
    return type(one) is type(other) and one == other


def text(value: Value) -> str | None:
    """As the list of conflicts shows it."""
    if value is None or isinstance(value, str):
        return None if value is None else value.encode("utf-8", "replace").decode()
    return f"x'{value.hex()}'" if isinstance(value, bytes) else repr(value)


def _texts(row: Row | None) -> Mapping[str, str | None] | None:
    return None if row is None else {column: text(value) for column, value in row.items()}
