"""One statement that runs in no transaction, so that a death in the middle is mended by running it again.

An attempt is noted before it begins. What then stands there under the statement's name is ours: an index that
is whole is done, an INVALID one, which a dead attempt left, is dropped and built again, and a partition that
is half detached is detached whole. What stands there without an attempt is somebody else's, and left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import failures, revisions
from lastgood.drivers.postgresql.clauses import Clause, Name
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.locks import BlockerWatch, describe
from lastgood.drivers.postgresql.scan import Statement, split
from lastgood.ports.drivers import MigrationScript

PATIENCE = 600
"""Seconds for which it waits for transactions that are older than itself; meanwhile it stops nobody."""

_CREATE = """
CREATE SCHEMA IF NOT EXISTS lastgood;
CREATE TABLE IF NOT EXISTS lastgood.attempts (
    migration text PRIMARY KEY, statement text NOT NULL, began timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


@dataclass(frozen=True)
class Work:
    """``kind`` is create, drop or detach; ``name`` is the index or the partition, ``table`` its table."""

    kind: str
    name: Name
    table: Name


def single(script: str, file: str) -> Statement:
    """The script's one statement. Raises InvalidInput when there are more, or it is another kind."""
    statements = split(script, file)
    if len(statements) != 1 or work_of(statements[0]) is None:
        raise InvalidInput(
            N_("{file} runs in no transaction, and has something else than one statement CONCURRENTLY"),
            todo=N_(
                "Leave one statement in it: CREATE INDEX CONCURRENTLY name ON …, DROP INDEX CONCURRENTLY "
                "name, or ALTER TABLE … DETACH PARTITION … CONCURRENTLY. All else is another migration."
            ),
            where=f"{file}:{statements[0].line if statements else 1}",
            file=file,
        )
    return statements[0]


def work_of(statement: Statement) -> Work | None:
    """None: not one of those that can be tried again."""
    clause = Clause.of(statement.text)
    if clause.take("CREATE"):
        clause.take("UNIQUE")
        if not clause.take("INDEX", "CONCURRENTLY"):
            return None
        clause.take("IF", "NOT", "EXISTS")
        if clause.peek("ON"):
            return None  # The server would give each attempt another name.
        name = clause.name()
        clause.take("ON")
        clause.take("ONLY")
        return Work("create", name, clause.name())
    if clause.take("DROP", "INDEX", "CONCURRENTLY"):
        clause.take("IF", "EXISTS")
        name = clause.name()
        return Work("drop", name, name) if clause.over else None
    if clause.take("ALTER", "TABLE"):
        clause.take("IF", "EXISTS")
        table = clause.name()
        if clause.take("DETACH", "PARTITION"):
            part = clause.name()
            return Work("detach", part, table) if clause.take("CONCURRENTLY") and clause.over else None
    return None


def forget(connection: Connection, migration: str) -> None:
    """The migration is done, there or back, in this very transaction."""
    if one(connection, "SELECT to_regclass('lastgood.attempts') IS NOT NULL"):
        connection.execute("DELETE FROM lastgood.attempts WHERE migration = %s", (migration,))


@dataclass(frozen=True)
class Alone:
    """The statement of ``file``, to be run until it is done."""

    server: Server
    migration: MigrationScript
    file: str
    statement: Statement

    def run(self) -> None:
        """Raises Rejected (script error, lock with the blockers), OutcomeUnknown when the answer was lost."""
        spot = replace(
            self.server.spot, file=self.file, line=self.statement.line, statement=self.statement.text
        )
        with (
            self.server.session() as connection,
            BlockerWatch(self.server, connection.info.backend_pid) as watch,
        ):
            connection.execute(
                sql.SQL("SET lock_timeout = {}; SET statement_timeout = 0").format(
                    sql.Literal(PATIENCE * 1000)
                )
            )
            revisions.lock_session(connection)
            ours = self._begin(connection)
            try:
                self._do(connection, ours)
            except psycopg.Error as error:
                if failures.lost(error):
                    raise failures.outcome_unknown(error, self.server.spot, self.migration.name) from None
                self._tidy(connection)
                if failures.locked(error):
                    raise failures.table_lock(failures.text(error), describe(watch.last), spot) from None
                raise failures.translate(error, spot) from None

    def take_back(self) -> None:
        """What was created, and did not stand its test."""
        with self.server.session() as connection:
            revisions.lock_session(connection)
            self._tidy(connection)

    @property
    def _work(self) -> Work:
        work = work_of(self.statement)
        assert work is not None, "single() refused it"
        return work

    def _begin(self, connection: Connection) -> bool:
        """Note the attempt; whether there was one before, so that what stands there is ours."""
        if not one(connection, "SELECT to_regclass('lastgood.attempts') IS NOT NULL"):
            connection.execute(_CREATE)
        before = connection.execute(
            "SELECT statement FROM lastgood.attempts WHERE migration = %s", (self.migration.name,)
        ).fetchone()
        if before is None and self._work.kind == "create" and self._index(connection) is not None:
            raise Rejected(
                N_("the index {name} is there already, and no attempt of {migration} made it"),
                todo=N_("Look who made it. Drop it, or choose another name for the index."),
                where=self.server.spot.address,
                cause=Cause.SCRIPT_ERROR,
                name=self._work.name.text,
                migration=self.migration.name,
            )
        connection.execute(
            "INSERT INTO lastgood.attempts (migration, statement) VALUES (%s, %s) "
            "ON CONFLICT (migration) DO UPDATE SET statement = excluded.statement",
            (self.migration.name, self.statement.text),
        )
        if before is not None and before[0] != self.statement.text and self._work.kind == "create":
            self._drop(connection)  # Of another attempt, with another definition.
        return before is not None

    def _do(self, connection: Connection, ours: bool) -> None:
        work = self._work
        if work.kind == "detach":
            pending = self._pending(connection)
            if pending:
                connection.execute(
                    sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE").format(
                        sql.SQL(work.table.text), sql.SQL(work.name.text)
                    )
                )
            elif pending is False or not ours:
                connection.execute(self.statement.text)
            return
        valid = self._index(connection)
        if work.kind == "create" and valid is False:
            self._drop(connection)
        if (work.kind == "create" and not valid) or (work.kind == "drop" and (valid is not None or not ours)):
            connection.execute(self.statement.text)

    def _tidy(self, connection: Connection) -> None:
        """Nothing of a CREATE stays; what a DROP or DETACH began is gone on with by the next attempt."""
        if self._work.kind == "create" and not connection.closed:
            self._drop(connection)
            forget(connection, self.migration.name)

    def _drop(self, connection: Connection) -> None:
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.SQL(self._qualified)))

    @property
    def _qualified(self) -> str:
        """An index stands in the schema of its table."""
        schema, dot, _ = self._work.table.text.rpartition(".")
        return self._work.name.text if self._work.kind == "drop" else f"{schema}{dot}{self._work.name.text}"

    def _index(self, connection: Connection) -> bool | None:
        """Whether it is valid; None when there is none."""
        row = connection.execute(
            "SELECT indisvalid AND indisready FROM pg_index WHERE indexrelid = to_regclass(%s)",
            (self._qualified,),
        ).fetchone()
        return row[0] if row else None

    def _pending(self, connection: Connection) -> bool | None:
        """Whether it is half detached; None when it is no partition of the table."""
        row = connection.execute(
            "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(%s) "
            "AND inhparent = to_regclass(%s)",
            (self._work.name.text, self._work.table.text),
        ).fetchone()
        return row[0] if row else None
