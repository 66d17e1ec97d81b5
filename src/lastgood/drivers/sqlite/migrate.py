"""Migrations of one database file, each in one transaction with its revision row.

Foreign keys don't act meanwhile, as the library's own procedure for changing a table wants it: with them, the
DROP of a table that was made anew would delete the rows that refer to it. They are checked at the end.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lastgood.domain.errors import Cause, Conflict, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.sqlite import aside, failures, revisions
from lastgood.drivers.sqlite.connection import Connection, Store, bounded
from lastgood.drivers.sqlite.locks import begin, patiently
from lastgood.drivers.sqlite.orphans import orphans
from lastgood.drivers.sqlite.own import Recorder
from lastgood.drivers.sqlite.scan import Statement, runnable
from lastgood.drivers.sqlite.shapes import read_tables
from lastgood.ports.drivers import MigrationScript

T = TypeVar("T")


@dataclass(frozen=True)
class Script:
    """``file`` is its name for people."""

    file: str
    statements: tuple[Statement, ...]

    @classmethod
    def read(cls, migration: MigrationScript, part: str, text: str) -> Script:
        """Raises InvalidInput when a statement is of a kind that a migration can't have."""
        file = f"{part}.sql of {migration.name}"
        return cls(file, runnable(text, file))


@dataclass(frozen=True)
class Migrator:
    """Deploys and reverts in the database of ``store``."""

    store: Store
    recorder: Recorder | None = None
    """Notes what a migration does to rows; None on a copy, which nobody goes back to."""

    def applied(self) -> tuple[revisions.Revision, ...]:
        """Oldest first. Raises DriverError."""
        with self.store.session() as connection:
            return revisions.read(connection)

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        """Deploy, verify and note it. Source of ``Migrates.deploy``."""
        script = Script.read(migration, "deploy", migration.deploy)
        verify = Script.read(migration, "verify", migration.verify)

        def work(connection: Connection) -> Mapping[str, int]:
            if self._there(connection, migration):
                return aside.report(connection, "returned_by", migration.name, key)
            before = read_tables(connection)
            with self._noting(connection, migration, script):
                self._run_checked(connection, script)
                renames = any("RENAME" in statement.words for statement in script.statements)
                added = aside.Added.between(before, read_tables(connection), renames=renames)
                returned = aside.bring_back(connection, migration.name, key)
                # Before the state that was is attached: what was dropped must not be found there.
                self._verify(connection, verify)
            revisions.add(connection, migration.name, migration.digest, key, added.dump())
            return returned

        return self._transaction(migration.name, work)

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        """Put aside what would be lost, run revert.sql and remove the row. Source of ``Migrates.revert``."""
        script = Script.read(migration, "revert", migration.revert)

        def work(connection: Connection) -> Mapping[str, int]:
            if not self._there(connection, migration):
                return aside.report(connection, "kept_by", migration.name, key)
            self._refuse_unless_newest(connection, migration)
            if not script.statements:
                raise self._empty(script)
            added = aside.Added.load(revisions.added(connection, migration.name))
            aside.put_aside(connection, migration.name, key, added)
            with self._noting(connection, migration, script):
                self._run_checked(connection, script)
            kept = aside.settle(connection, migration.name, key)
            revisions.remove(connection, migration.name)
            return kept

        return self._transaction(migration.name, work)

    def verify(self, migrations: Sequence[MigrationScript]) -> str:
        """Run verify scripts and keep nothing of what they do; the first failure in words, or ``""``."""
        for migration in migrations:
            script = Script.read(migration, "verify", migration.verify)
            with self.store.session() as connection:
                connection.execute("BEGIN")
                try:
                    self.run(connection, script)
                except Rejected as failed:
                    return str(failed)
        return ""

    def run(self, connection: Connection, script: Script) -> None:
        """Every statement. Raises Rejected with its place, and sqlite3.Error for a lock."""
        for statement in script.statements:
            try:
                with bounded(connection, self.store.settings.statement_timeout):
                    connection.execute(statement.text).fetchall()
            except (sqlite3.Error, sqlite3.Warning) as error:
                if failures.locked(error):
                    raise
                spot = replace(self.store.spot, file=script.file, line=statement.line)
                raise failures.translate(error, spot) from None

    def _transaction(self, name: str, work: Callable[[Connection], T]) -> T:
        """All of it or nothing, as the only one that writes."""

        def once() -> T:
            connection = self.store.connect()
            try:
                begin(self.store, connection)
                result = work(connection)
                try:
                    connection.execute("COMMIT")
                except sqlite3.Error as error:
                    if failures.code(error) == sqlite3.SQLITE_IOERR:
                        raise failures.outcome_unknown(error, self.store.spot, name) from None
                    raise
                return result
            finally:
                connection.close()

        with self.store.errors():
            return patiently(self.store, once)

    def _run_checked(self, connection: Connection, script: Script) -> None:
        before = orphans(connection)
        self.run(connection, script)
        new = orphans(connection) - before
        if new:
            (child, parent), number = new.most_common()[0]
            raise Rejected(
                N_("{file} leaves {number} rows of {child} without the row of {parent} that they refer to"),
                todo=N_("Foreign keys do not act while a migration runs: change those rows in the script."),
                where=self.store.spot.address,
                cause=Cause.SCRIPT_ERROR,
                file=script.file,
                number=number,
                child=child,
                parent=parent,
            )

    def _noting(
        self, connection: Connection, migration: MigrationScript, script: Script
    ) -> contextlib.AbstractContextManager[None]:
        if self.recorder is None:
            return contextlib.nullcontext()
        replaces = any("REPLACE" in statement.words for statement in script.statements)
        return self.recorder.noting(connection, migration.name, replaces)

    def _verify(self, connection: Connection, verify: Script) -> None:
        """Whatever it writes is gone afterwards, and nothing of what the migration does."""
        connection.set_authorizer(None)
        connection.execute("SAVEPOINT lastgood_verify")
        self.run(connection, verify)
        connection.execute("ROLLBACK TO lastgood_verify")
        connection.execute("RELEASE lastgood_verify")

    def _there(self, connection: Connection, migration: MigrationScript) -> bool:
        """Whether it is deployed; raises Conflict when another one of that name is."""
        for revision in revisions.read(connection):
            if revision.name != migration.name:
                continue
            if revision.digest == migration.digest:
                return True
            raise Conflict(
                N_("migration {name} is deployed with other scripts: {there}, not {wanted}"),
                todo=N_("Give the changed migration a new name; deployed ones are never edited."),
                where=self.store.spot.address,
                name=migration.name,
                there=revision.digest,
                wanted=migration.digest,
            )
        return False

    def _refuse_unless_newest(self, connection: Connection, migration: MigrationScript) -> None:
        names = [r.name for r in revisions.read(connection)]
        newer = names[names.index(migration.name) + 1 :]
        if newer:
            raise Conflict(
                N_("migration {name} is not the newest: {newer} came after it"),
                todo=N_("Revert the newer ones first."),
                where=self.store.spot.address,
                name=migration.name,
                newer=", ".join(newer),
            )

    def _empty(self, script: Script) -> Rejected:
        return Rejected(
            N_("{file} is empty: it would take nothing back"),
            todo=N_("Write the statements that undo deploy.sql."),
            where=self.store.spot.address,
            cause=Cause.SCRIPT_ERROR,
            file=script.file,
        )
