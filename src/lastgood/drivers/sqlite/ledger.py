"""What a restore knows of itself, kept in the copy: it comes into the live file with the rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lastgood.domain.salvage import Salvage, Swapped
from lastgood.drivers.sqlite.connection import PREFIX, Connection, exists, rows
from lastgood.drivers.sqlite.merging import Value, text
from lastgood.sql.conflicts import Conflict

RESTORES, CONFLICTS = f"{PREFIX}restores", f"{PREFIX}conflicts"

_CREATE = (
    f"""CREATE TABLE IF NOT EXISTS {RESTORES} (
    key TEXT PRIMARY KEY NOT NULL, snapshot TEXT NOT NULL, carried TEXT NOT NULL, position TEXT NOT NULL,
    failed TEXT NOT NULL, fence_seconds REAL NOT NULL DEFAULT 0, swap_seconds REAL NOT NULL DEFAULT 0
)""",
    f"""CREATE TABLE IF NOT EXISTS {CONFLICTS} (
    id INTEGER PRIMARY KEY AUTOINCREMENT, restore TEXT NOT NULL, "table" TEXT NOT NULL, "key" TEXT NOT NULL,
    "column" TEXT NOT NULL, at_cut TEXT, migration TEXT, shop TEXT, reason TEXT NOT NULL,
    written_at TEXT NOT NULL
)""",
)


@dataclass
class Ledger:
    """The restore ``key`` in the database of ``connection``; ``failed``: the file that has its failed one."""

    connection: Connection
    key: str
    failed: str = ""
    carried: dict[str, int] = field(default_factory=dict)
    position: str = ""
    fence_seconds: float = 0.0
    swap_seconds: float = 0.0

    @classmethod
    def read(cls, connection: Connection, key: str) -> Ledger | None:
        if not exists(connection, RESTORES):
            return None
        found = rows(
            connection,
            f"SELECT failed, carried, position, fence_seconds, swap_seconds FROM {RESTORES} WHERE key = ?",
            key,
        )
        if not found:
            return None
        failed, carried, position, fence, swap = found[0]
        return cls(connection, key, failed, json.loads(carried), position, fence, swap)

    def begin(self, snapshot: str) -> None:
        for statement in _CREATE:
            self.connection.execute(statement)
        self.connection.execute(
            f"INSERT INTO {RESTORES} (key, snapshot, carried, position, failed) VALUES (?, ?, '{{}}', '', ?)",
            (self.key, snapshot, self.failed),
        )

    def write(self) -> None:
        self.connection.execute(
            f"UPDATE {RESTORES} SET carried = ?, position = ?, failed = ? WHERE key = ?",
            (json.dumps(self.carried), self.position, self.failed, self.key),
        )

    def time(self, fence: float, swap: float) -> None:
        """How long it took, once it is over."""
        self.connection.execute(
            f"UPDATE {RESTORES} SET fence_seconds = ?, swap_seconds = ? WHERE key = ?",
            (fence, swap, self.key),
        )

    def conflict(self, table: str, key: Sequence[Value], column: str, conflict: Conflict) -> None:
        self.connection.execute(
            f'INSERT INTO {CONFLICTS} (restore, "table", "key", "column", at_cut, migration, shop, reason, '
            "written_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.key, table, json.dumps([text(part) for part in key], ensure_ascii=False), column,
                conflict.at_cut, conflict.migration, conflict.shop, conflict.reason,
                datetime.now(UTC).isoformat(),
            ),
        )  # fmt: skip

    def salvage(self) -> Salvage:
        found = rows(
            self.connection,
            f'SELECT "table", count(DISTINCT "key") FROM {CONFLICTS} WHERE restore = ? GROUP BY "table"',
            self.key,
        )
        return Salvage(dict(self.carried), {str(t): int(n) for t, n in found}, self.position)

    def swapped(self) -> Swapped:
        return Swapped(self.failed, self.salvage(), self.fence_seconds, self.swap_seconds)
