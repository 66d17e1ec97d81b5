"""How many rows were written, each counted once however often it was touched."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lastgood.sql.changes import Change, Kind, Row, Transaction

_MEMORY_KIB = 64 << 10
_BATCH = 10_000

# ``existed``: at the cut. ``present``: now.
_ROWS = """
CREATE TABLE rows (relation INTEGER, key BLOB, existed INTEGER, present INTEGER, PRIMARY KEY (relation, key))
WITHOUT ROWID
"""
_TOUCH = (
    "INSERT INTO rows VALUES (?, ?, ?, ?) "
    "ON CONFLICT (relation, key) DO UPDATE SET present = excluded.present"
)
# Of tables whose rows only their content tells apart: how many of that content have become what.
_COPIES = """
CREATE TABLE copies (relation INTEGER, key BLOB, what TEXT, n INTEGER, PRIMARY KEY (relation, key, what))
WITHOUT ROWID
"""
_WRITTEN = """
SELECT relation, sum(NOT existed AND present), sum(existed AND present), sum(existed AND NOT present)
FROM rows GROUP BY relation
UNION ALL
SELECT relation, sum(n * (what = 'inserted')), sum(n * (what = 'updated')), sum(n * (what = 'deleted'))
FROM copies GROUP BY relation
"""


@dataclass(frozen=True)
class Written:
    inserted: int
    updated: int
    deleted: int


class Tally:
    """Net writes by the oid of the table; large ones go to a temporary file that has no name.

    ``rows_at_cut``: how many rows a table had, asked when it was emptied as a whole. ``names`` are the first
    that were seen.
    """

    def __init__(self, rows_at_cut: Callable[[int], int]) -> None:
        self.names: dict[int, str] = {}
        self._rows_at_cut = rows_at_cut
        self._rows = sqlite3.connect("", isolation_level=None)
        self._rows.execute(f"PRAGMA cache_size = -{_MEMORY_KIB}")
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute(_ROWS)
        self._rows.execute(_COPIES)
        self._touched: list[tuple[int, bytes, int, int]] = []
        self._gone: Counter[int] = Counter()
        self._emptied: Counter[int] = Counter()

    def close(self) -> None:
        self._rows.close()

    def add(self, transactions: Iterable[Transaction]) -> None:
        """What others than we wrote."""
        self._rows.execute("BEGIN")
        for transaction in transactions:
            for change in () if transaction.own else transaction.changes:
                self._change(change)
        self._flush()
        self._rows.execute("COMMIT")

    def written(self) -> dict[int, Written]:
        """By the oid of the table."""
        self._flush()
        done = {relation: Written(0, 0, rows) for relation, rows in (self._gone + self._emptied).items()}
        for relation, inserted, updated, deleted in self._rows.execute(_WRITTEN):
            more = done.get(relation, Written(0, 0, 0))
            done[relation] = Written(more.inserted + inserted, more.updated + updated, more.deleted + deleted)
        return done

    def _change(self, change: Change) -> None:
        relation, key = change.relation.oid, change.relation.key
        self.names.setdefault(relation, f"{change.relation.schema}.{change.relation.name}")
        if change.kind is Kind.TRUNCATE:
            self._flush()
            self._rows.execute("DELETE FROM rows WHERE relation = ?", (relation,))
            self._rows.execute("DELETE FROM copies WHERE relation = ?", (relation,))
            self._gone[relation] = 0
            self._emptied[relation] = self._rows_at_cut(relation)
        elif key == change.relation.columns:
            self._count(change)
        elif change.kind is Kind.INSERT:
            self._touch(relation, _key(change.new, key), 0, 1)
        elif change.kind is Kind.DELETE:
            self._touch(relation, _key(change.old, key), 1, 0)
        elif change.old:
            self._move(relation, _key(change.old, key), _key({**change.old, **change.new}, key))
        else:
            self._touch(relation, _key(change.new, key), 1, 1)

    def _count(self, change: Change) -> None:
        """The same row may be there twice: which of them was meant does not matter."""
        relation, columns = change.relation.oid, change.relation.columns
        new = _key({**change.old, **change.new}, columns)
        old = _key(change.old, columns) if change.old else new
        if change.kind is Kind.INSERT:
            if not self._take(relation, old, "deleted"):
                self._put(relation, new, "inserted")
        elif change.kind is Kind.UPDATE:
            self._put(relation, new, self._take(relation, old, "updated", "inserted") or "updated")
        elif self._take(relation, old, "inserted", "updated") != "inserted":
            self._put(relation, old, "deleted")

    def _take(self, relation: int, key: bytes, *what: str) -> str:
        """The first of ``what`` of which there was one."""
        for one in what:
            taken = self._rows.execute(
                "UPDATE copies SET n = n - 1 WHERE (relation, key, what) = (?, ?, ?) AND n > 0",
                (relation, key, one),
            )
            if taken.rowcount:
                return one
        return ""

    def _put(self, relation: int, key: bytes, what: str) -> None:
        self._rows.execute(
            "INSERT INTO copies VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET n = n + 1",
            (relation, key, what),
        )

    def _move(self, relation: int, old: bytes, new: bytes) -> None:
        """A row got another key, perhaps that of one deleted before."""
        self._flush()
        find = "DELETE FROM rows WHERE relation = ? AND key = ? RETURNING existed"
        was = self._rows.execute(find, (relation, old)).fetchone()
        replaced = self._rows.execute(find, (relation, new)).fetchone()
        self._gone[relation] += replaced[0] if replaced else 0
        self._touch(relation, new, was[0] if was else 1, 1)

    def _touch(self, relation: int, key: bytes, existed: int, present: int) -> None:
        self._touched.append((relation, key, existed, present))
        if len(self._touched) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._touched:
            self._rows.executemany(_TOUCH, self._touched)
            self._touched.clear()


def _key(row: Row, columns: Iterable[str]) -> bytes:
    text = json.dumps([row.get(column) for column in columns])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
