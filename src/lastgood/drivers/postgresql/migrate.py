"""Each migration in one transaction with its row in the revision table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import psycopg

from lastgood.domain.errors import Cause, DriverError, LastgoodError, OutcomeUnknown, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql import (
    alone,
    aside,
    failures,
    publication,
    recording,
    revisions,
    undoing,
)
from lastgood.drivers.postgresql.connection import Connection, Server
from lastgood.drivers.postgresql.recording import Recorder
from lastgood.drivers.postgresql.scan import Statement, marks, runnable
from lastgood.drivers.postgresql.transactions import BEGIN, ScriptFailed, Transactions, Work
from lastgood.ports.drivers import MigrationScript
from lastgood.sql.aside import Added
from lastgood.sql.marks import NO_TRANSACTION


@dataclass(frozen=True)
class Script:
    """One script of a migration, split; ``file`` names it for people."""

    file: str
    statements: tuple[Statement, ...]
    alone: bool = False
    """Its one statement runs in no transaction, before ours."""

    @classmethod
    def read(cls, migration: MigrationScript, part: str, text: str) -> Script:
        """Raises InvalidInput when a statement can't run in our transaction."""
        file = f"{part}.sql of {migration.name}"
        if part != "verify" and NO_TRANSACTION in marks(text, file):
            return cls(file, (alone.single(text, file),), alone=True)
        return cls(file, runnable(text, file))


@dataclass(frozen=True)
class Migrator:
    """Deploys and reverts in the database of ``server``."""

    server: Server

    def applied(self) -> tuple[revisions.Revision, ...]:
        """Oldest first. Raises DriverError."""
        with self.server.reading() as connection:
            return revisions.read(connection)

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        """Deploy, bring back what its revert put aside, verify and note it. Source of ``Migrates.deploy``."""
        script = Script.read(migration, "deploy", migration.deploy)
        verify = Script.read(migration, "verify", migration.verify)

        def work(connection: Connection) -> Work:
            if revisions.there(connection, migration, self.server.spot.address):
                return False, aside.report(connection, "returned_by", migration.name, key)
            revisions.prepare(connection)
            aside.before_deploy(connection, migration.name)
            before = aside.shapes(connection)
            self._run(connection, script, recorder)
            self._settle(connection, script)
            if recorder is not None:
                recorder.gather(connection, key, before)
            alone.forget(connection, migration.name)
            added = aside.between(before, aside.shapes(connection))
            returned = aside.bring_back(connection, migration.name, key)
            self._verify(connection, verify)
            revisions.add(connection, migration.name, migration.digest, key, added.dump())
            return True, returned

        recorder = Recorder(self.server, migration) if recording.wanted(migration) else None
        self._undo_attempt(migration, script, deployed=True)
        with self._beforehand(migration, script, wanted=False), self._recorded(recorder, script):
            return Transactions(self.server).run(work, migration.name, recorder)

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        """Put aside what would be lost, run revert.sql and remove the row. Source of ``Migrates.revert``."""
        script = Script.read(migration, "revert", migration.revert)

        def work(connection: Connection) -> Work:
            if not revisions.there(connection, migration, self.server.spot.address):
                return False, aside.report(connection, "kept_by", migration.name, key)
            revisions.refuse_unless_newest(connection, migration.name, self.server.spot.address)
            undoes = recording.wanted(migration)
            if undoes:
                undoing.undo(connection, migration.name, key, self.server.spot.address)
            deployed = Script.read(migration, "deploy", migration.deploy)
            if not script.statements and not undoes and deployed.statements:
                raise Rejected(
                    N_("{file} is empty: it would take nothing back"),
                    todo=N_("Write the statements that undo deploy.sql."),
                    where=self.server.spot.address,
                    cause=Cause.SCRIPT_ERROR,
                    file=script.file,
                )
            aside.put_aside(connection, migration.name, key, self._added(connection, script))
            self._run(connection, script)
            self._settle(connection, script)
            alone.forget(connection, migration.name)
            kept = aside.settle(connection, migration.name, key)
            revisions.remove(connection, migration.name)
            return True, kept

        self._undo_attempt(migration, script, deployed=False)
        with self._beforehand(migration, script, wanted=True):
            return Transactions(self.server).run(work, migration.name)

    @contextlib.contextmanager
    def _beforehand(self, migration: MigrationScript, script: Script, *, wanted: bool) -> Iterator[None]:
        """What runs in no transaction, when the migration is there as ``wanted`` says. What our transaction
        then does not confirm is undone.
        """
        if not script.alone:
            yield
            return
        with self.server.reading() as connection:
            there = revisions.there(connection, migration, self.server.spot.address)
            if there and wanted:
                revisions.refuse_unless_newest(connection, migration.name, self.server.spot.address)
        if there is not wanted:
            yield
            return
        alone.Alone(self.server, migration, script.file, script.statements[0]).run()
        try:
            yield
        except OutcomeUnknown:
            raise
        except LastgoodError:
            part, text = ("deploy", migration.deploy) if wanted else ("revert", migration.revert)
            # What can't be undone now stays noted: the next attempt goes on, or the way back undoes it.
            with contextlib.suppress(DriverError):
                self._undo_attempt(migration, Script.read(migration, part, text), deployed=wanted)
            raise

    def _undo_attempt(self, migration: MigrationScript, back: Script, *, deployed: bool) -> None:
        """Undo the statement of an attempt that no transaction confirmed, so that all is as the revision
        table says: ``deployed``, when the way back was tried. ``back`` leads the other way. Idempotent.
        """
        with self.server.reading() as connection:
            there = revisions.there(connection, migration, self.server.spot.address)
            statement = alone.noted(connection, migration.name)
        if statement is None or there is not deployed:
            return
        begun = alone.Alone.noted(self.server, migration, back.file, statement)
        if deployed and not back.alone and not begun.creates:
            return  # What undoes it is only a part of deploy.sql; the way back can still go on.
        if not begun.undo():
            return
        if back.alone:
            alone.Alone(self.server, migration, back.file, back.statements[0]).again()

        def work(connection: Connection) -> Work:
            if alone.noted(connection, migration.name) != statement:
                return False, {}
            self._run(connection, back)
            self._settle(connection, back)
            alone.forget(connection, migration.name)
            return True, {}

        Transactions(self.server).run(work, migration.name)

    def undo_obstacle(self, migration: MigrationScript) -> Message | None:
        """Source of ``UndoesRows.undo_obstacle``."""
        if not recording.wanted(migration):
            return None
        script = Script.read(migration, "deploy", migration.deploy)
        with self.server.reading() as connection:
            return recording.obstacle(connection, migration, script.statements)

    def verify(self, migrations: Sequence[MigrationScript]) -> str:
        """Run verify scripts and keep nothing of what they do; the first failure in words, or ``""``."""
        for migration in migrations:
            script = Script.read(migration, "verify", migration.verify)
            with self.server.session() as connection:
                connection.execute(BEGIN)
                connection.execute(self.server.guards())
                try:
                    self._run(connection, script)
                except ScriptFailed as failed:
                    if failures.lost(failed.error):
                        raise failures.translate(failed.error, self.server.spot) from None
                    return str(failures.translate(failed.error, failed.spot))
                finally:
                    if not connection.closed:
                        connection.execute("ROLLBACK")
        return ""

    def _added(self, connection: Connection, script: Script) -> Added:
        """What the newest migration added; tried out by its revert when that was not noted at deploy."""
        noted = revisions.read(connection)[-1].added
        if noted is not None:
            return Added.load(noted)
        before = aside.shapes(connection)
        connection.execute("SAVEPOINT lastgood_trial")
        self._run(connection, script)
        after = aside.shapes(connection)
        connection.execute("ROLLBACK TO SAVEPOINT lastgood_trial; RELEASE SAVEPOINT lastgood_trial")
        return aside.between(after, before)

    @contextlib.contextmanager
    def _recorded(self, recorder: Recorder | None, script: Script) -> Iterator[None]:
        if recorder is None:
            yield
            return
        with recorder.installed(script.statements):
            yield

    def _run(self, connection: Connection, script: Script, recorder: Recorder | None = None) -> None:
        spot = self.server.spot
        for number, statement in enumerate(() if script.alone else script.statements):
            if recorder is not None:
                recorder.before(connection, number)
            try:
                connection.execute(statement.text)
                if statement.touches_settings:
                    connection.execute(self.server.guards())
            except psycopg.Error as error:
                position = int(error.diag.statement_position or 1)
                line = statement.line_of(position)
                raise ScriptFailed(
                    error, replace(spot, file=script.file, line=line, statement=statement.text)
                ) from None

    def _settle(self, connection: Connection, script: Script) -> None:
        """Deferred constraints speak now, and what follows runs as in a session of its own."""
        try:
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            line = script.statements[-1].line if script.statements else 1
            raise ScriptFailed(error, replace(self.server.spot, file=script.file, line=line)) from None
        connection.execute("RESET SESSION AUTHORIZATION; RESET ALL")
        connection.execute(self.server.guards())
        publication.follow(connection, ours=True)

    def _verify(self, connection: Connection, verify: Script) -> None:
        """Whatever it writes is gone afterwards."""
        connection.execute("SAVEPOINT lastgood_verify")
        self._run(connection, verify)
        connection.execute("ROLLBACK TO SAVEPOINT lastgood_verify; RELEASE SAVEPOINT lastgood_verify")
