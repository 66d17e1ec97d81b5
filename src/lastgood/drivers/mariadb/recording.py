"""What a migration does to each row, so that its undo can tell whether somebody changed it since.

The server's log has every row before and after, and tells by each transaction that it is a migration's. So
nothing is made on the shop's tables and nobody waits: where the log stood is noted before the first
statement, and after the last one it is read and the rows are written down, for the log itself goes in time.
Whoever dies in between leaves that to the next call. What the log has not, the cascades of foreign keys, is
refused.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pymysql

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.mariadb import changes, failures, obstacles
from lastgood.drivers.mariadb.binlog import Position
from lastgood.drivers.mariadb.changes import Incomplete, Parser
from lastgood.drivers.mariadb.connection import PREFIX, Connection, Server, rows, run
from lastgood.drivers.mariadb.folding import Fold
from lastgood.drivers.mariadb.revisions import exists
from lastgood.drivers.mariadb.scan import READS, Kind, Statement, tokens
from lastgood.drivers.mariadb.shapes import Reference, Shapes, read_shapes
from lastgood.ports.drivers import MigrationScript
from lastgood.sql.aside import Added
from lastgood.sql.changes import Change, Transaction
from lastgood.sql.changes import Kind as Changed
from lastgood.sql.marks import UNDO_ROWS, marks

UNDO, ROWS, RUNS, CONFLICTS = (f"{PREFIX}undo{rest}" for rest in ("", "_rows", "_runs", "_conflicts"))
BATCH = 500
_ACTS = ("CASCADE", "SET NULL")

_CREATE = (
    f"CREATE TABLE IF NOT EXISTS {UNDO} (id bigint unsigned AUTO_INCREMENT PRIMARY KEY, "
    "migration varchar(255) NOT NULL, relation varchar(64) NOT NULL, `key` text NOT NULL, "
    "`rows` bigint NOT NULL, recorded_at datetime(6) NOT NULL, undone bigint, undone_by text, "
    "undone_at datetime(6)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    f"CREATE TABLE IF NOT EXISTS {ROWS} (lot bigint unsigned NOT NULL, n int unsigned NOT NULL, "
    "was longtext, now longtext, state text, PRIMARY KEY (lot, n)) ENGINE=InnoDB "
    "DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin COMMENT 'Rows before and after, as JSON'",
    f"CREATE TABLE IF NOT EXISTS {RUNS} (migration varchar(255) PRIMARY KEY, began varchar(64) NOT NULL, "
    "recorded bool NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
    f"CREATE TABLE IF NOT EXISTS {CONFLICTS} (lot bigint unsigned NOT NULL, `key` longtext NOT NULL, "
    "was longtext, deployed longtext, found longtext, reason text NOT NULL) ENGINE=InnoDB "
    "DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin COMMENT 'Rows that an undo left as they were'",
)
NO_KEY = N_("table {table} has no primary key that tells its rows apart: {file} can't undo its rows")
RESHAPED = N_("table {table} is changed by the same deploy.sql as its rows: {file} can't undo them")
CASCADES = N_(
    "rows of {child} change along with those of {table} by a foreign key, which the log does not tell: "
    "{file} can't undo them"
)


def wanted(migration: MigrationScript) -> bool:
    """Whether its revert.sql asks to undo rows. Raises InvalidInput when it can't be read."""
    return UNDO_ROWS in marks(tokens(migration.revert, f"revert.sql of {migration.name}"))


def obstacle(server: Server, migration: MigrationScript, statements: Sequence[Statement]) -> Message | None:
    """Why what deploy.sql does to rows could not be undone. Raises DriverError."""
    found = obstacles.find(server)
    if found is not None:
        return found
    with server.session() as connection:
        shapes = read_shapes(connection, server.database)
    file = f"revert.sql of {migration.name}"
    writing = [s for s in statements if s.kind is Kind.ROWS and not READS & set(s.words[:1])]
    for statement in writing:
        for name in sorted(statement.names & shapes.tables.keys()):
            if not shapes.tables[name].key or shapes.tables[name].prefixed:
                return Message(NO_KEY, {"table": name, "file": file})
            child = _child(shapes, name, statement)
            if child:
                return Message(CASCADES, {"table": name, "child": child, "file": file})
    written = {name for s in writing for name in s.names & shapes.tables.keys()}
    for statement in statements:
        reshaped = sorted(written & statement.names)
        if not reshaped or statement.kind is not Kind.DEFINITION or "TABLE" not in statement.words[1:4]:
            continue
        if _reshapes(statement, before=statements.index(statement) < statements.index(writing[0])):
            return Message(RESHAPED, {"table": reshaped[0], "file": file})
    return None


def _child(shapes: Shapes, table: str, statement: Statement) -> str:
    """A table whose rows may follow those that ``statement`` changes in ``table``."""
    for reference in shapes.references:
        if reference.parent != table or reference.schema != shapes.schema:
            continue
        deletes = statement.words[0] in ("DELETE", "REPLACE") and reference.on_delete in _ACTS
        moves = set(reference.referred) & statement.names and reference.on_update in _ACTS
        if deletes or (moves and "UPDATE" in statement.words):
            return reference.child
    return ""


def _reshapes(statement: Statement, *, before: bool) -> bool:
    """Columns that are only added, before any row is changed, are in nobody's way."""
    clashing = {"MODIFY", "CHANGE", "RENAME", "DROP", "CONVERT", "PARTITION", "REPLACE"}
    return not before or bool(clashing & set(statement.words))


def unrecorded(connection: Connection) -> list[str]:
    """Names of migrations that began, and of which nothing is written down."""
    if not exists(connection, RUNS):
        return []
    return [str(name) for (name,) in rows(connection, f"SELECT migration FROM {RUNS} WHERE NOT recorded")]


@dataclass(frozen=True)
class Recorder:
    """Records what the migration of that ``name`` does. Raises Rejected and pymysql.Error."""

    server: Server
    name: str

    def begin(self, connection: Connection) -> None:
        """Before the first statement of a deploy that is not one gone on with."""
        for name, statement in zip((UNDO, ROWS, RUNS, CONFLICTS), _CREATE, strict=True):
            if not exists(connection, name):
                run(connection, statement)
        run(
            connection,
            f"REPLACE INTO {RUNS} VALUES (%s, %s, FALSE)",
            self.name, str(changes.now(connection)),
        )  # fmt: skip

    def gather(self, connection: Connection, added: Added) -> None:
        """After the deploy is committed, and before another one begins: write down what the log has. Done
        once, however often it is asked. Columns and tables that it ``added`` go with revert.sql.
        """
        began = self._began(connection)
        if began is None:
            return
        shapes = read_shapes(connection, self.server.database)
        fold = Fold()
        with contextlib.closing(fold):
            try:
                for change in self._own(connection, Position.read(began)):
                    self._refuse_cascade(shapes, change)
                    if (change.relation.name,) not in added.tables:
                        fold.add(change)
                self._write(connection, shapes, fold, added)
            except Incomplete as error:
                self._give_up(connection)
                raise self._refused(
                    N_("what {name} did to rows can't be read from the log: {error}"), error=str(error)
                ) from None
            except Rejected:
                self._give_up(connection)
                raise

    def _give_up(self, connection: Connection) -> None:
        """Nothing is recorded of it, and nobody tries again."""
        run(connection, "ROLLBACK")
        run(connection, f"DELETE FROM {RUNS} WHERE migration = %s", self.name)

    def _began(self, connection: Connection) -> str | None:
        if not exists(connection, RUNS):
            return None
        question = f"SELECT began FROM {RUNS} WHERE migration = %s AND NOT recorded"
        found = rows(connection, question, self.name)
        return str(found[0][0]) if found else None

    def _own(self, connection: Connection, after: Position) -> Iterator[Change]:
        """Those of migrations, among which there is no other one."""
        there = {str(row[0]): int(row[1]) for row in rows(connection, "SHOW BINARY LOGS")}
        if there.get(after.file, 0) < after.offset:
            raise Incomplete("it is gone")
        database = self.server.database
        parser = Parser(database, changes.charsets(connection), changes.sequences(connection, database))
        try:
            for found in changes.read(self.server.connect, parser, after, changes.now(connection)):
                if isinstance(found, Transaction) and found.own:
                    yield from found.changes
        except pymysql.Error as error:
            if failures.number(error) != failures.NO_SUCH_LOG:
                raise
            # Of another server, or begun anew: asked again it would be the same.
            raise Incomplete(failures.text(error)) from None

    def _refuse_cascade(self, shapes: Shapes, change: Change) -> None:
        acting = next((r for r in shapes.references if _acts(r, change)), None)
        if acting is not None:
            raise self._refused(CASCADES, table=acting.parent, child=acting.child)

    def _write(self, connection: Connection, shapes: Shapes, fold: Fold, added: Added) -> None:
        """All of it in one transaction, with the note that it is done."""
        run(connection, "START TRANSACTION")
        self._drop_old(connection)
        lot, table, number = 0, "", 0
        waiting: list[tuple[object, ...]] = []
        for name, was, now in fold.rows():
            skipped = {p[1] for p in (*added.columns, *added.retyped) if p[0] == name}
            was, now = _changed(was, now, skipped, shapes.tables[name].key if name in shapes.tables else ())
            if was is None and now is None:
                continue
            if name != table:
                lot, table, number = self._lot(connection, shapes, name), name, 0
            number += 1
            waiting.append((lot, number, _json(was), _json(now)))
            if len(waiting) >= BATCH:
                _put(connection, waiting)
        _put(connection, waiting)
        run(
            connection,
            f"UPDATE {UNDO} SET `rows` = (SELECT COUNT(*) FROM {ROWS} WHERE lot = {UNDO}.id) "
            "WHERE migration = %s AND undone_at IS NULL",
            self.name,
        )
        run(connection, f"UPDATE {RUNS} SET recorded = TRUE WHERE migration = %s", self.name)
        run(connection, "COMMIT")

    def _lot(self, connection: Connection, shapes: Shapes, name: str) -> int:
        shape = shapes.tables.get(name)
        if shape is None or not shape.key:
            raise self._refused(NO_KEY if shape is not None else RESHAPED, table=name)
        run(
            connection,
            f"INSERT INTO {UNDO} (migration, relation, `key`, `rows`, recorded_at) "
            "VALUES (%s, %s, %s, 0, UTC_TIMESTAMP(6))",
            self.name, name, json.dumps(shape.key),
        )  # fmt: skip
        return int(rows(connection, "SELECT LAST_INSERT_ID()")[0][0])

    def _drop_old(self, connection: Connection) -> None:
        """Of a deploy before, which was never undone."""
        run(
            connection,
            f"DELETE {ROWS} FROM {ROWS} JOIN {UNDO} ON {UNDO}.id = {ROWS}.lot "
            f"WHERE {UNDO}.migration = %s AND {UNDO}.undone_at IS NULL",
            self.name,
        )
        run(
            connection,
            f"DELETE FROM {UNDO} WHERE migration = %s AND undone_at IS NULL",
            self.name,
        )

    def _refused(self, what: str, **params: object) -> Rejected:
        return Rejected(
            what,
            todo=N_(
                "{name} is deployed all the same. Take it back with lastgood restore, or by a migration that "
                "mends what it did."
            ),
            where=self.server.spot.address,
            cause=Cause.SCRIPT_ERROR,
            **{"name": self.name, "file": f"revert.sql of {self.name}", **params},
        )


def _acts(reference: Reference, change: Change) -> bool:
    """Whether rows of another table may have followed this change."""
    if reference.parent != change.relation.name or change.unchecked:
        return False
    if change.kind is Changed.DELETE:
        return reference.on_delete in _ACTS
    moved = change.kind is Changed.UPDATE and any(
        change.before.get(column) != change.new.get(column) for column in reference.referred
    )
    return moved and reference.on_update in _ACTS


def _changed(
    was: Mapping[str, str | None] | None, now: Mapping[str, str | None] | None, skipped: set[str],
    key: Sequence[str],
) -> tuple[dict[str, str | None] | None, dict[str, str | None] | None]:  # fmt: skip
    """Without columns that are ``skipped``; of a row that stays, its key and what differs. None twice:
    nothing does.
    """
    before = {c: v for c, v in was.items() if c not in skipped} if was is not None else None
    after = {c: v for c, v in now.items() if c not in skipped} if now is not None else None
    if before is None or after is None:
        return before, after
    differs = {c for c, v in after.items() if before.get(c) != v}
    if not differs:
        return None, None
    wanted = differs | set(key)
    return {c: v for c, v in before.items() if c in wanted}, {c: v for c, v in after.items() if c in wanted}


def _json(row: Mapping[str, str | None] | None) -> str | None:
    return None if row is None else json.dumps(row, ensure_ascii=False)


def _put(connection: Connection, waiting: list[tuple[object, ...]]) -> None:
    if waiting:
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {ROWS} (lot, n, was, now) VALUES (%s, %s, %s, %s)", waiting)
    waiting.clear()
