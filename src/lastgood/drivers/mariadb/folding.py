"""Many changes of a row become one: what it was at first, and what it is in the end."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence

from lastgood.sql.changes import Change, Kind, Row

# ``live`` rows are there in the end, by their key then; ``gone`` ones by the key that they had at first.
_CREATE = (
    "CREATE TABLE live (relation TEXT, key TEXT, was TEXT, now TEXT, PRIMARY KEY (relation, key)) "
    "WITHOUT ROWID",
    "CREATE TABLE gone (relation TEXT, key TEXT, was TEXT, PRIMARY KEY (relation, key)) WITHOUT ROWID",
)
Folded = tuple[str, dict[str, str | None] | None, dict[str, str | None] | None]
"""Table, the row before and the row after; None: it was not there."""


class Fold:
    """Takes changes in their order; many go to a temporary file that has no name."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", isolation_level=None)
        for statement in ("PRAGMA journal_mode = OFF", *_CREATE, "BEGIN"):
            self._rows.execute(statement)

    def close(self) -> None:
        self._rows.close()

    def add(self, change: Change) -> None:
        """Of a table with a key."""
        table, key = change.relation.name, change.relation.key
        if change.kind is Kind.INSERT:
            self._put(table, change.new, key, self._take("gone", table, _text(change.new, key)))
        elif change.kind is Kind.UPDATE:
            self._put(table, change.new, key, self._first(table, change, key))
        elif change.kind is Kind.DELETE:
            was = self._first(table, change, key)
            if was is not None:
                self._rows.execute(
                    "REPLACE INTO gone VALUES (?, ?, ?)", (table, _text(json.loads(was), key), was)
                )

    def rows(self) -> Iterator[Folded]:
        """Those that are other than they were, table by table."""
        question = (
            "SELECT relation, was, now FROM live UNION ALL SELECT relation, was, NULL FROM gone ORDER BY 1"
        )
        for table, was, now in self._rows.execute(question):
            if was != now:
                yield table, json.loads(was) if was else None, json.loads(now) if now else None

    def _first(self, table: str, change: Change, key: Sequence[str]) -> str | None:
        """What the row was before all of it; None: it was not there."""
        text = _text(change.before, key)
        found = self._rows.execute("SELECT 1 FROM live WHERE relation = ? AND key = ?", (table, text))
        if found.fetchone() is None:
            return _json(change.before)
        return self._take("live", table, text)

    def _take(self, where: str, table: str, key: str) -> str | None:
        found = self._rows.execute(
            f"DELETE FROM {where} WHERE relation = ? AND key = ? RETURNING was", (table, key)
        ).fetchone()
        return found[0] if found else None

    def _put(self, table: str, row: Row, key: Sequence[str], was: str | None) -> None:
        self._rows.execute("REPLACE INTO live VALUES (?, ?, ?, ?)", (table, _text(row, key), was, _json(row)))


def _text(row: Row, columns: Sequence[str]) -> str:
    return json.dumps([row.get(column) for column in columns])


def _json(row: Row) -> str:
    return json.dumps(dict(row), sort_keys=True)
