"""Migrations in one database: one at a time, and a failed one is taken back as far as it got."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pymysql

from lastgood.domain.errors import Cause, Conflict, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.mariadb import (
    admitting,
    aside,
    failures,
    kept,
    locks,
    obstacles,
    progress,
    recording,
    revisions,
    undoing,
)
from lastgood.drivers.mariadb.connection import Connection, Server, rows, run, session_id
from lastgood.drivers.mariadb.fingerprint import read_listing
from lastgood.drivers.mariadb.locks import Watch, watching
from lastgood.drivers.mariadb.progress import DEPLOY, REVERT, STOPPED, UNDOING, Progress
from lastgood.drivers.mariadb.returning import bring_back
from lastgood.drivers.mariadb.scan import Statement, runnable
from lastgood.drivers.mariadb.undo import removed
from lastgood.drivers.mariadb.walk import Script, StatementFailed, Walk, raised, undo_rows
from lastgood.ports.drivers import MigrationScript
from lastgood.sql.aside import Added
from lastgood.sql.failures import Spot


def read_script(migration: MigrationScript, part: str, text: str) -> Script:
    """Raises InvalidInput when a statement is of a kind that a migration can't have."""
    file = f"{part}.sql of {migration.name}"
    return Script(file, runnable(text, file, definitions=part != "verify", part=part))


@dataclass(frozen=True)
class Migrator:
    """Deploys and reverts in the database of ``server``."""

    server: Server

    def applied(self) -> tuple[revisions.Revision, ...]:
        """Oldest first. Raises DriverError."""
        with self.server.session() as connection:
            return revisions.read(connection)

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        """Deploy, bring back what its revert put aside, verify and note it. Source of ``Migrates.deploy``."""
        script = read_script(migration, "deploy", migration.deploy)
        verify = read_script(migration, "verify", migration.verify)
        with self._alone() as (connection, watch):
            left = self._left_behind(connection, watch, migration, key, DEPLOY)
            if left is None:
                if self._there(connection, migration):
                    return kept.report(connection, "returned_by", migration.name, key)
                admitting.refuse_elsewhere(self.server, connection, script, verify)
                admitting.refuse_untransactional(connection, script)
                admitting.refuse_unlockable(self.server, connection)
                self._begin_recording(connection, migration)
            walk = self._walk(connection, watch, migration, key, DEPLOY, script, left)
            failed: dict[str, int] = {}

            def work() -> None:
                progress_ = walk.progress
                added = aside.added(
                    progress_.begun, read_listing(connection), progress_.own, script.statements
                )
                failed.clear()
                failed.update(bring_back(connection, migration.name, key))
                self._verify(walk, verify)
                revisions.add(connection, migration.name, migration.digest, key, added.dump())

            self._go(walk, work)
            self._record(connection)
            return {**failed, **kept.report(connection, "returned_by", migration.name, key)}

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        """Put aside what would be lost, run revert.sql and remove the row. Source of ``Migrates.revert``."""
        script = read_script(migration, "revert", migration.revert)
        with self._alone() as (connection, watch):
            left = self._left_behind(connection, watch, migration, key, REVERT)
            if left is None:
                if not self._there(connection, migration):
                    return kept.report(connection, "kept_by", migration.name, key)
                self._refuse_unless_newest(connection, migration)
                if not recording.wanted(migration):
                    admitting.refuse_empty(self.server, script)
                admitting.refuse_elsewhere(self.server, connection, script)
                admitting.refuse_untransactional(connection, script)
                admitting.refuse_unlockable(self.server, connection)
            walk = self._walk(connection, watch, migration, key, REVERT, script, left)
            self._take_back(walk, migration)
            return kept.report(connection, "kept_by", migration.name, key)

    def undo_obstacle(self, migration: MigrationScript) -> Message | None:
        """Source of ``UndoesRows.undo_obstacle``."""
        if not recording.wanted(migration):
            return None
        return recording.obstacle(
            self.server, migration, read_script(migration, "deploy", migration.deploy).statements
        )

    def _begin_recording(self, connection: Connection, migration: MigrationScript) -> None:
        found = self.undo_obstacle(migration)
        if found is not None:
            raise Rejected(
                found.template,
                todo=N_("Mend that, or don't ask to undo rows in revert.sql. Nothing was changed."),
                where=self.server.spot.address,
                cause=Cause.PERMISSION if found.template in obstacles.RIGHTS else Cause.SCRIPT_ERROR,
                **found.params,
            )
        if recording.wanted(migration):
            recording.Recorder(self.server, migration.name).begin(connection)

    def _record(self, connection: Connection) -> None:
        """What was deployed, and whoever deployed it died before."""
        for name in recording.unrecorded(connection):
            noted = revisions.added(connection, name)
            if noted is not None:
                recording.Recorder(self.server, name).gather(connection, Added.load(noted))

    def _take_back(self, walk: Walk, migration: MigrationScript) -> None:
        """All of a revert, or what is left of it."""
        connection, state = walk.connection, walk.progress
        noted = revisions.added(connection, state.name)
        added = Added.load(noted) if noted is not None else removed(walk.script.statements, state.begun)
        keeper = aside.Keeper(self.server, connection, state.name, added, walk.script.statements, state.begun)
        if recording.wanted(migration):
            address = self.server.spot.address
            walk.undo = partial(undoing.undo, connection, state.name, state.key, address)
        try:
            undo_rows(walk)
        except StatementFailed as failed:
            raise walk.back(failed.error) from None
        keeper.prepare(state.done)
        walk.keeper = keeper

        def work() -> None:
            keeper.settle(state.key)
            revisions.remove(connection, state.name)

        self._go(walk, work)
        kept.sweep(connection)

    def verify(self, migrations: Sequence[MigrationScript]) -> str:
        """Run verify scripts and keep nothing of what they do; the first failure in words, or ``""``."""
        for migration in migrations:
            script = read_script(migration, "verify", migration.verify)
            with self.server.session() as connection:
                run(connection, "START TRANSACTION")
                for statement in script.statements:
                    try:
                        run(connection, statement.text)
                    except pymysql.Error as error:
                        spot = self._spot(script, statement)
                        if failures.lost(error):
                            raise failures.translate(error, self.server.spot) from None
                        return str(failures.translate(error, spot))
                run(connection, "ROLLBACK")
        return ""

    @contextlib.contextmanager
    def _alone(self) -> Iterator[tuple[Connection, Watch]]:
        """A session that is the only one to migrate this database; the server ends that with the session, and
        so after the statement that a killed predecessor had sent.
        """
        with self.server.session() as connection, watching(self.server, session_id(connection)) as watch:
            locks.let_none_in(self.server, connection)
            revisions.prepare(connection)
            progress.prepare(connection)
            # What can't be recorded says so when it is to be undone.
            with contextlib.suppress(Rejected):
                self._record(connection)
            yield connection, watch

    def _left_behind(
        self, connection: Connection, watch: Watch, migration: MigrationScript, key: str, act: str
    ) -> Progress | None:
        """That of this very act, to go on with. What another one left is ended first: a revert that broke off
        goes on, a deploy is taken back.
        """
        left = progress.read(connection)
        if left is None:
            return None
        own = left.of(migration.name, migration.digest, act)
        if left.state == STOPPED:
            if own and left.key == key:
                raise raised(left.error)
            progress.remove(connection)
            return None
        if left.state == UNDOING:
            error = Walk(self.server, connection, left, Script("", ()), watch).back(raised(left.error))
            if (own and left.key == key) or _stopped(connection):
                raise error
            return None
        if own:
            return left
        if left.of(migration.name, migration.digest, REVERT):
            script = read_script(migration, "revert", migration.revert)
            self._take_back(Walk(self.server, connection, left, script, watch), migration)
            return None
        interrupted = Rejected(
            N_("migration {name} broke off ({act})"),
            todo=N_("Deploy it again."),
            where=self.server.spot.address,
            name=left.name,
            act=left.act,
        )
        walk = Walk(self.server, connection, left, Script("", ()), watch)
        error = walk.back(interrupted)
        if _stopped(connection):
            raise error
        return None

    def _walk(
        self, connection: Connection, watch: Watch, migration: MigrationScript, key: str, act: str,
        script: Script, left: Progress | None,
    ) -> Walk:  # fmt: skip
        if left is None:
            begun = read_listing(connection)
            left = Progress(migration.name, migration.digest, key, act, begun)
            left.write(connection)
        left.key = key
        return Walk(self.server, connection, left, script, watch)

    def _go(self, walk: Walk, work: Callable[[], None]) -> None:
        try:
            walk.forward()
            walk.finish(work)
        except StatementFailed as failed:
            raise walk.back(failed.error) from None

    def _verify(self, walk: Walk, verify: Script) -> None:
        """Whatever it writes is gone afterwards."""
        run(walk.connection, "SAVEPOINT lastgood_verify")
        for statement in verify.statements:
            walk.spot = self._spot(verify, statement)
            rows(walk.connection, statement.text)
        walk.spot = self.server.spot
        run(walk.connection, "ROLLBACK TO SAVEPOINT lastgood_verify")

    def _spot(self, script: Script, statement: Statement) -> Spot:
        return replace(self.server.spot, file=script.file, line=statement.line, statement=statement.text)

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
                where=self.server.spot.address,
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
                where=self.server.spot.address,
                name=migration.name,
                newer=", ".join(newer),
            )


def _stopped(connection: Connection) -> bool:
    """Whether what was taken back stands in part, or is not all taken back yet."""
    return progress.read(connection) is not None
