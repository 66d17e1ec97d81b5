"""One statement that runs in no transaction, so that a death in the middle is mended by running it again.

An attempt is noted before it begins, when there is something for it to do. What then stands there under the
note's own name is ours: an index that is whole is done, an INVALID one, which a dead attempt left, is dropped
and built again, and a partition that is half detached is detached whole. What stands there without an attempt
is somebody else's, and left alone. The transaction that writes the revision removes the note; until then the
note says that something may have to be undone of which the revision table knows nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import failures, revisions
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.locks import watching
from lastgood.drivers.postgresql.scan import Statement, split, tokens
from lastgood.ports.drivers import MigrationScript
from lastgood.sql.blockers import describe
from lastgood.sql.clauses import Clause, Name

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
    clause = Clause.of(tokens(statement.text, ""))
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


def noted(connection: Connection, migration: str) -> str | None:
    """The statement of an attempt that no transaction of ours has confirmed."""
    if not one(connection, "SELECT to_regclass('lastgood.attempts') IS NOT NULL"):
        return None
    row = connection.execute(
        "SELECT statement FROM lastgood.attempts WHERE migration = %s", (migration,)
    ).fetchone()
    return row[0] if row else None


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

    @classmethod
    def noted(cls, server: Server, migration: MigrationScript, file: str, statement: str) -> Alone:
        """The attempt whose note says ``statement``."""
        return cls(server, migration, file, split(statement, file)[0])

    def run(self) -> None:
        """Raises Rejected (script error, lock with the blockers), OutcomeUnknown when the answer was lost."""
        with self._session(self._tidy) as connection:
            self._do(connection, self._begin(connection))

    def again(self) -> None:
        """Run it to undo an attempt of the opposite, whose note stays until all of that is undone."""
        with self._session(self._clear) as connection:
            self._do(connection, ours=True)

    def undo(self) -> bool:
        """Undo what this attempt began, as far as no script is needed; whether the script that leads the
        other way has to run. Raises as ``run`` does.
        """
        with self._session(lambda _: None) as connection:
            if noted(connection, self.migration.name) != self.statement.text:
                return False
            if self._work.kind == "create" or self._untouched(connection):
                self._tidy(connection)
                return False
            if self._work.kind == "drop":
                self._drop(connection)
            elif self._pending(connection):
                self._finalize(connection)
            return True

    @contextlib.contextmanager
    def _session(self, clear: Callable[[Connection], None]) -> Iterator[Connection]:
        """Alone among migrations; ``clear`` after a refusal. Maps errors as ``run`` says."""
        spot = replace(
            self.server.spot, file=self.file, line=self.statement.line, statement=self.statement.text
        )
        with (
            self.server.session() as connection,
            watching(self.server, connection.info.backend_pid) as watch,
        ):
            connection.execute(
                sql.SQL("SET lock_timeout = {}; SET statement_timeout = 0").format(
                    sql.Literal(PATIENCE * 1000)
                )
            )
            revisions.lock_session(connection)
            try:
                yield connection
            except psycopg.Error as error:
                if failures.lost(error):
                    raise failures.outcome_unknown(error, self.server.spot, self.migration.name) from None
                clear(connection)
                if failures.locked(error):
                    raise failures.table_lock(failures.text(error), describe(watch.last), spot) from None
                raise failures.translate(error, spot) from None

    @property
    def creates(self) -> bool:
        return self._work.kind == "create"

    @property
    def _work(self) -> Work:
        work = work_of(self.statement)
        assert work is not None, "single() refused it"
        return work

    def _begin(self, connection: Connection) -> bool:
        """Note the attempt; whether there was one of the same, so that what stands there is ours."""
        before = noted(connection, self.migration.name)
        ours = False
        if before is not None:
            earlier = Alone.noted(self.server, self.migration, self.file, before)
            ours = earlier._subject == self._subject
            if earlier._work.kind == "create" and before != self.statement.text:
                earlier._tidy(connection)  # The script was changed meanwhile.
        if not ours and self._work.kind == "create" and self._index(connection) is not None:
            raise Rejected(
                N_("the index {name} is there already, and no attempt of {migration} made it"),
                todo=N_("Look who made it. Drop it, or choose another name for the index."),
                where=self.server.spot.address,
                cause=Cause.SCRIPT_ERROR,
                name=self._work.name.text,
                migration=self.migration.name,
            )
        if ours or self._has_work(connection):
            if not one(connection, "SELECT to_regclass('lastgood.attempts') IS NOT NULL"):
                connection.execute(_CREATE)
            connection.execute(
                "INSERT INTO lastgood.attempts (migration, statement) VALUES (%s, %s) "
                "ON CONFLICT (migration) DO UPDATE SET statement = excluded.statement",
                (self.migration.name, self.statement.text),
            )
        return ours

    @property
    def _subject(self) -> tuple[str, str, str]:
        """What a note vouches for: nothing but what its own statement names."""
        work = self._work
        schema = work.table.key.rpartition(".")[0]
        return (work.kind, work.name.key, work.table.key if work.kind == "detach" else schema)

    def _has_work(self, connection: Connection) -> bool:
        """Without, the server refuses the statement, or passes it over, and nothing is to be undone."""
        if self._work.kind == "detach":
            return self._pending(connection) is not None
        return self._work.kind == "create" or self._index(connection) is not None

    def _untouched(self, connection: Connection) -> bool:
        """Whether what a DROP or a DETACH is about is there as before."""
        if self._work.kind == "detach":
            return self._pending(connection) is False
        return self._index(connection) is True

    def _do(self, connection: Connection, ours: bool) -> None:
        work = self._work
        if work.kind == "detach":
            pending = self._pending(connection)
            if pending:
                self._finalize(connection)
            elif pending is False or not ours:
                connection.execute(self.statement.text)
            return
        valid = self._index(connection)
        if work.kind == "create" and valid is False:
            self._drop(connection)
        if (work.kind == "create" and not valid) or (work.kind == "drop" and (valid is not None or not ours)):
            connection.execute(self.statement.text)

    def _tidy(self, connection: Connection) -> None:
        """Nothing of a CREATE stays; what a DROP or DETACH began is gone on with by the next attempt, or
        undone by the way back.
        """
        self._clear(connection)
        if not connection.closed and (self._work.kind == "create" or self._untouched(connection)):
            forget(connection, self.migration.name)

    def _clear(self, connection: Connection) -> None:
        if self._work.kind == "create" and not connection.closed:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.SQL(self._qualified)))

    def _finalize(self, connection: Connection) -> None:
        work = self._work
        connection.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE").format(
                sql.SQL(work.table.text), sql.SQL(work.name.text)
            )
        )

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
