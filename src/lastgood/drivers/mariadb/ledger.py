"""What a restore knows of itself, kept in the copy: committed with the rows, so that each is carried once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lastgood.domain.salvage import Salvage
from lastgood.drivers.mariadb.connection import PREFIX, Connection, quoted, rows, run
from lastgood.drivers.mariadb.statements import Places
from lastgood.sql.conflicts import WHOLE, Conflict

Key = tuple[str | None, ...]

RESTORES, CONFLICTS, MOVED = (f"{PREFIX}{name}" for name in ("restores", "conflicts", "moved"))

_CREATE = (
    "CREATE TABLE IF NOT EXISTS {restores} ("
    "id varchar(64) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, `key` text NOT NULL, "
    "snapshot text NOT NULL, position text NOT NULL, carried longtext NOT NULL, numbers longtext NOT NULL, "
    "names longtext NOT NULL, failed varchar(64) NOT NULL, fenced_at datetime(6), fence_seconds double, "
    "swap_seconds double"
    ") ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS {conflicts} ("
    "id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY, restore text NOT NULL, `table` varchar(64) NOT NULL, "
    "`key` longtext NOT NULL, `column` varchar(64) NOT NULL, at_cut longtext, migration longtext, "
    "shop longtext, reason text NOT NULL, written_at datetime(6) NOT NULL, digest binary(32) NOT NULL UNIQUE"
    ") ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin "
    "COMMENT 'Not carried over by a restore; no column: a row as JSON'",
    "DROP TABLE IF EXISTS {moved}",
    "CREATE TABLE {moved} (digest binary(32) PRIMARY KEY, `table` varchar(64) NOT NULL, home longtext"
    ") ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
)
_DIGEST = "UNHEX(SHA2(CONCAT_WS('\\0', %s, %s, %s, %s), 256))"


@dataclass
class Ledger:
    """The state of the restore ``key`` in the database ``schema``. ``numbers``: the highest one that was
    given to a row, by table; ``names``: what a table that was renamed since is called in the copy;
    ``places``: which tables the live database had at ``position``.
    """

    connection: Connection
    schema: str
    key: str
    snapshot: str = ""
    position: str = ""
    carried: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    places: Places = field(default_factory=Places)
    failed: str = ""
    fence_seconds: float | None = None
    swap_seconds: float | None = None
    _listed: set[str] | None = None
    _moved: set[str] | None = None

    @classmethod
    def read(cls, connection: Connection, schema: str, key: str) -> Ledger | None:
        """None: there is none, so the copy is not whole (or no copy of this restore)."""
        there = rows(
            connection,
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s",
            schema, RESTORES,
        )  # fmt: skip
        if not there:
            return None
        found = rows(
            connection,
            "SELECT `key`, snapshot, position, carried, numbers, names, failed, fence_seconds, swap_seconds "
            f"FROM {quoted(schema, RESTORES)} WHERE id = SHA2(%s, 256)",
            key,
        )
        if not found:
            return None
        of, snapshot, position, carried, numbers, names, failed, fence, swap = found[0]
        # A restore that an earlier version ended has a mapping alone.
        told = json.loads(names)
        named, absent, replaced = told if isinstance(told, list) else (told, (), ())
        return cls(
            connection, schema, of, snapshot, position, json.loads(carried), json.loads(numbers),
            named, Places(set(absent), set(replaced)), failed, fence, swap,
        )  # fmt: skip

    @classmethod
    def begin(cls, connection: Connection, schema: str, key: str, snapshot: str, position: str) -> None:
        """The copy is whole, as it was at ``position``."""
        names = {
            name: quoted(schema, table)
            for name, table in (("restores", RESTORES), ("conflicts", CONFLICTS), ("moved", MOVED))
        }
        for statement in _CREATE:
            run(connection, statement.format(**names))
        run(
            connection,
            f"INSERT INTO {names['restores']} (id, `key`, snapshot, position, carried, numbers, names, "
            "failed) VALUES (SHA2(%s, 256), %s, %s, %s, '{}', '{}', '[{},[],[]]', '')",
            key, key, snapshot, position,
        )  # fmt: skip

    def fence(self) -> None:
        """The fence goes up now."""
        self.write()
        run(
            self.connection,
            f"UPDATE {self._table(RESTORES)} SET fenced_at = UTC_TIMESTAMP(6) WHERE id = SHA2(%s, 256)",
            self.key,
        )

    @staticmethod
    def swapped(connection: Connection, schema: str, key: str, fence: float, swap: float) -> None:
        """The names are swapped: say how long it took."""
        run(
            connection,
            f"UPDATE {quoted(schema, RESTORES)} SET fence_seconds = %s, swap_seconds = %s "
            "WHERE id = SHA2(%s, 256)",
            fence, swap, key,
        )  # fmt: skip

    def write(self) -> None:
        run(
            self.connection,
            f"UPDATE {self._table(RESTORES)} SET position = %s, carried = %s, numbers = %s, names = %s, "
            "failed = %s "
            "WHERE id = SHA2(%s, 256)",
            self.position, json.dumps(self.carried), json.dumps(self.numbers),
            json.dumps([self.names, sorted(self.places.absent), sorted(self.places.replaced)]),
            self.failed, self.key,
        )  # fmt: skip

    def salvage(self) -> Salvage:
        found = rows(
            self.connection,
            f"SELECT `table`, COUNT(DISTINCT `key`) FROM {self._table(CONFLICTS)} WHERE restore = %s "
            "GROUP BY `table`",
            self.key,
        )
        return Salvage(dict(self.carried), {str(t): int(n) for t, n in found}, self.position)

    def moved(self, table: str, key: Key) -> tuple[bool, Key | None]:
        """Whether a migration gave the row this key, and the one it has in the copy (None: no row there)."""
        if self._moved is None:
            self._moved = {
                str(t) for (t,) in rows(self.connection, f"SELECT DISTINCT `table` FROM {self._table(MOVED)}")
            }
        if table not in self._moved:
            return False, key
        found = rows(
            self.connection,
            f"SELECT home FROM {self._table(MOVED)} WHERE digest = {_DIGEST}",
            table, written(key), "", "",
        )  # fmt: skip
        if not found:
            return False, key
        return True, tuple(json.loads(found[0][0])) if found[0][0] is not None else None

    def move(self, table: str, key: Key, home: Key | None) -> None:
        """The live row ``key`` is the copy's row ``home``."""
        self.moved(table, key)
        if home == key:
            if table in (self._moved or ()):
                self._forget(table, key)
            return
        assert self._moved is not None, "read just before"
        self._moved.add(table)
        run(
            self.connection,
            f"REPLACE INTO {self._table(MOVED)} (digest, `table`, home) VALUES ({_DIGEST}, %s, %s)",
            table, written(key), "", "", table, None if home is None else written(home),
        )  # fmt: skip

    def _forget(self, table: str, key: Key) -> None:
        run(
            self.connection,
            f"DELETE FROM {self._table(MOVED)} WHERE digest = {_DIGEST}",
            table, written(key), "", "",
        )  # fmt: skip

    def lists(self, table: str) -> bool:
        """Whether there may be conflicts of ``table``."""
        if self._listed is None:
            found = rows(self.connection, f"SELECT DISTINCT `table` FROM {self._table(CONFLICTS)}")
            self._listed = {str(t) for (t,) in found}
        return table in self._listed

    def lists_whole(self, table: str, key: Key) -> bool:
        return self.lists(table) and bool(
            rows(
                self.connection,
                f"SELECT 1 FROM {self._table(CONFLICTS)} WHERE digest = {_DIGEST}",
                table, written(key), WHOLE, self.key,
            )
        )  # fmt: skip

    def settle(self, table: str, key: Key, columns: Iterable[str] | None = None) -> None:
        """No conflict of this row stands any more, or none of these columns."""
        if not self.lists(table):
            return
        if columns is None:
            run(
                self.connection,
                f"DELETE FROM {self._table(CONFLICTS)} WHERE restore = %s AND `table` = %s AND `key` = %s",
                self.key, table, written(key),
            )  # fmt: skip
            return
        for column in columns:
            run(
                self.connection,
                f"DELETE FROM {self._table(CONFLICTS)} WHERE digest = {_DIGEST}",
                table, written(key), column, self.key,
            )  # fmt: skip

    def settle_table(self, table: str) -> None:
        """Every row of it is gone."""
        where = "WHERE `table` = %s"
        run(
            self.connection,
            f"DELETE FROM {self._table(CONFLICTS)} {where} AND restore = %s",
            table,
            self.key,
        )
        run(self.connection, f"DELETE FROM {self._table(MOVED)} {where}", table)

    def rename(self, table: str, key: Key, now: Key) -> None:
        """What is listed follows its row."""
        if key == now or not self.lists(table):
            return
        self.settle(table, now)
        run(
            self.connection,
            f"UPDATE {self._table(CONFLICTS)} SET `key` = %s, "
            "digest = UNHEX(SHA2(CONCAT_WS('\\0', `table`, %s, `column`, restore), 256)) "
            "WHERE restore = %s AND `table` = %s AND `key` = %s",
            written(now), written(now), self.key, table, written(key),
        )  # fmt: skip

    def conflict(self, table: str, key: Key, column: str, conflict: Conflict, seconds: float) -> None:
        """A later one of the same column takes the place of what the shop wrote before."""
        self.lists(table)
        assert self._listed is not None, "read just before"
        self._listed.add(table)
        run(
            self.connection,
            f"INSERT INTO {self._table(CONFLICTS)} (digest, restore, `table`, `key`, `column`, at_cut, "
            f"migration, shop, reason, written_at) VALUES ({_DIGEST}, %s, %s, %s, %s, %s, %s, %s, %s, "
            "TIMESTAMP('1970-01-01') + INTERVAL %s SECOND) "
            "ON DUPLICATE KEY UPDATE shop = VALUES(shop), written_at = VALUES(written_at)",
            table, written(key), column, self.key, self.key, table, written(key), column, conflict.at_cut,
            conflict.migration, conflict.shop, conflict.reason, seconds,
        )  # fmt: skip

    def _table(self, name: str) -> str:
        return quoted(self.schema, name)


def written(key: Sequence[str | None]) -> str:
    return json.dumps(list(key), ensure_ascii=False)
