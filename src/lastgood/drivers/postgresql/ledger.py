"""What a restore knows of itself, kept in the copy: committed with the rows, so that each is carried once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring

from lastgood.domain.salvage import Salvage
from lastgood.drivers.postgresql.connection import Connection, one
from lastgood.drivers.postgresql.entries import Key
from lastgood.drivers.postgresql.merging import Row
from lastgood.sql.conflicts import Conflict

_CREATE = """
CREATE SCHEMA IF NOT EXISTS lastgood;
CREATE TABLE IF NOT EXISTS lastgood.restores (
    key text PRIMARY KEY,
    snapshot text NOT NULL,
    "position" text NOT NULL DEFAULT '',
    carried jsonb NOT NULL DEFAULT '{}',
    numbers jsonb NOT NULL DEFAULT '{}',
    failed text NOT NULL DEFAULT '',
    fenced_at timestamptz,
    fence_seconds float8,
    swap_seconds float8
);
ALTER TABLE lastgood.restores ADD COLUMN IF NOT EXISTS poolers jsonb NOT NULL DEFAULT '{}';
CREATE TABLE IF NOT EXISTS lastgood.conflicts (
    restore text NOT NULL,
    "table" text NOT NULL,
    key text NOT NULL,
    "column" text NOT NULL,
    at_cut text,
    migration text,
    shop text,
    reason text NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (restore, "table", key, "column")
);
COMMENT ON TABLE lastgood.conflicts IS 'Not carried over by a restore; no column: a row as JSON';
DROP TABLE IF EXISTS lastgood.diverged;
CREATE TABLE lastgood.diverged (
    "table" text, key text, home text, live text, aside text, "whole" boolean, migrated text, reason text,
    PRIMARY KEY ("table", key)
)
"""

ALL = "*"
"""Every column of a row that has conflicts."""


@dataclass
class Ledger:
    """The state of the restore ``key`` in the copy that ``connection`` is in. ``numbers``: the highest one
    that was given to a row, by ``table.column``.
    """

    connection: Connection
    key: str
    snapshot: str = ""
    position: str = ""
    carried: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    failed: str = ""
    fence_seconds: float | None = None
    swap_seconds: float | None = None

    @classmethod
    def read(cls, connection: Connection, key: str) -> Ledger | None:
        """None: there is none, so the copy is not whole (or no copy of this restore)."""
        if not one(connection, "SELECT to_regclass('lastgood.restores') IS NOT NULL"):
            return None
        row = connection.execute(
            'SELECT key, snapshot, "position", carried, numbers, failed, fence_seconds, swap_seconds '
            "FROM lastgood.restores WHERE key = %s",
            (key,),
        ).fetchone()
        return cls(connection, *row) if row else None

    @classmethod
    def begin(cls, connection: Connection, key: str, snapshot: str) -> None:
        """The copy is whole."""
        with connection.transaction():
            connection.execute(_CREATE)
            connection.execute(
                "INSERT INTO lastgood.restores (key, snapshot) VALUES (%s, %s)", (key, snapshot)
            )

    @staticmethod
    def swapped(connection: Connection, key: str, swap_seconds: float) -> None:
        """The names are swapped: say how long it took."""
        connection.execute(
            "UPDATE lastgood.restores SET swap_seconds = %s, "
            "fence_seconds = extract(epoch FROM clock_timestamp() - fenced_at) WHERE key = %s",
            (swap_seconds, key),
        )

    @staticmethod
    def settle_down(connection: Connection) -> None:
        """What was only needed on the way."""
        connection.execute("DROP TABLE IF EXISTS lastgood.diverged")

    def fence(self) -> None:
        """The fence goes up now."""
        self.write()
        self.connection.execute(
            "UPDATE lastgood.restores SET fenced_at = clock_timestamp() WHERE key = %s", (self.key,)
        )

    def write(self) -> None:
        self.connection.execute(
            'UPDATE lastgood.restores SET "position" = %s, carried = %s, numbers = %s, failed = %s '
            "WHERE key = %s",
            (self.position, json.dumps(self.carried), json.dumps(self.numbers), self.failed, self.key),
        )

    def salvage(self) -> Salvage:
        conflicts: dict[str, int] = dict(
            self.connection.execute(
                'SELECT "table", count(DISTINCT key) FROM lastgood.conflicts WHERE restore = %s GROUP BY 1',
                (self.key,),
            ).fetchall()
        )
        return Salvage(dict(self.carried), conflicts, self.position)

    def tables_with_conflicts(self) -> set[str]:
        return {t for (t,) in self.connection.execute('SELECT DISTINCT "table" FROM lastgood.conflicts')}

    def all_diverged(self, most: int) -> dict[str, set[Key] | None]:
        """Keys of such rows by table; None for a table that has more than ``most``."""
        counts = 'SELECT "table", count(*) FROM lastgood.diverged GROUP BY 1'
        found: dict[str, set[Key] | None] = {}
        for table, count in self.connection.execute(counts).fetchall():
            keys = self.connection.execute('SELECT key FROM lastgood.diverged WHERE "table" = %s', (table,))
            found[table] = {tuple(json.loads(key)) for (key,) in keys} if count <= most else None
        return found

    def diverged(self, table: str, keys: Sequence[Key]) -> dict[Key, tuple[Key | None, Row]]:
        """Rows that the copy does not hold as the live database does, with their keys in the copy; ``copy``
        of each is still empty.
        """
        rows = self.connection.execute(
            'SELECT key, home, live, aside, "whole", migrated, reason FROM lastgood.diverged '
            'WHERE "table" = %s AND key = ANY(%s)',
            (table, [written(k) for k in keys]),
        )
        return {
            tuple(json.loads(key)): (
                tuple(json.loads(home)) if home is not None else None,
                Row((), None, _load(live), _load(aside) or {}, whole, _load(migrated), reason, fresh=False),
            )
            for key, home, live, aside, whole, migrated, reason in rows
        }

    def diverged_keys(self, table: str) -> tuple[set[Key], set[Key]]:
        """Keys of such rows that are in the live database, and those in the copy that are spoken for."""
        live: set[Key] = set()
        homes: set[Key] = set()
        for key, home, there in self.connection.execute(
            'SELECT key, home, live IS NOT NULL FROM lastgood.diverged WHERE "table" = %s', (table,)
        ):
            if there:
                live.add(tuple(json.loads(key)))
            if home is not None:
                homes.add(tuple(json.loads(home)))
        return live, homes

    def forget(self, table: str, keys: Iterable[Key]) -> None:
        self.connection.execute(
            'DELETE FROM lastgood.diverged WHERE "table" = %s AND key = ANY(%s)',
            (table, [written(k) for k in keys]),
        )

    def note(self, rows: Sequence[tuple[str, Key, Key | None, Row]]) -> None:
        """Rows (table, key, key in the copy) that differ from now on; what was noted of them is forgotten."""
        with self.connection.cursor().copy(
            'COPY lastgood.diverged ("table", key, home, live, aside, "whole", migrated, reason) FROM STDIN'
        ) as copy:
            for table, key, home, row in rows:
                found = written(key)
                there = found if home == key else None if home is None else written(home)
                copy.write_row((
                    table, found, there, _dump(row.live),
                    _dump(row.aside), row.whole, _dump(row.migrated), row.reason,
                ))  # fmt: skip

    def settle(self, table: str, keys: Iterable[Key], column: str = ALL) -> None:
        """No conflict of these rows stands any more, or none of this column."""
        self.connection.execute(
            'DELETE FROM lastgood.conflicts WHERE restore = %s AND "table" = %s AND key = ANY(%s) '
            'AND (%s OR "column" = %s)',
            (self.key, table, [written(k) for k in keys], column == ALL, column),
        )

    def rename(self, table: str, key: Key, now: Key) -> None:
        self.settle(table, [now])
        self.connection.execute(
            'UPDATE lastgood.conflicts SET key = %s WHERE restore = %s AND "table" = %s AND key = %s',
            (written(now), self.key, table, written(key)),
        )

    def conflict(self, rows: Sequence[tuple[str, Key, str, Conflict, float]]) -> None:
        """List (table, key, column, conflict, seconds); a later one of the same column takes its place."""
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO lastgood.conflicts VALUES (%s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s)) "
                'ON CONFLICT (restore, "table", key, "column") DO UPDATE SET shop = excluded.shop, '
                "reason = excluded.reason, written_at = excluded.written_at",
                [
                    (self.key, table, written(key), column, c.at_cut, c.migration, c.shop, c.reason, seconds)
                    for table, key, column, c, seconds in rows
                ],
            )


def written(key: Key) -> str:
    """As JSON, put together by hand: an encoder made for each of many small values takes half of the time."""
    return f"[{', '.join(map(_text, key))}]"


def _dump(values: Mapping[str, str | None] | None) -> str | None:
    if values is None:
        return None
    return f"{{{', '.join(f'{encode_basestring(name)}: {_text(value)}' for name, value in values.items())}}}"


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring(value)


def _load(text: str | None) -> dict[str, str | None] | None:
    return None if text is None else json.loads(text)
