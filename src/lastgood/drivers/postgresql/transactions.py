"""A migration's transaction, tried until it is done: a lock in the way is waited for outside of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psycopg

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import changes, failures, publication, revisions
from lastgood.drivers.postgresql.connection import Connection, Server
from lastgood.drivers.postgresql.locks import Watch, watching
from lastgood.drivers.postgresql.recording import Recorder, Unrecorded
from lastgood.sql.blockers import describe
from lastgood.sql.failures import Spot

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
RETRY_PAUSE = 0.2

Work = tuple[bool, Mapping[str, int]]
"""Whether there is something to commit, and the rows put aside or brought back by place."""


@dataclass(frozen=True)
class Transactions:
    """Those of migrations in the database of ``server``."""

    server: Server

    def run(
        self, work: Callable[[Connection], Work], name: str, recorder: Recorder | None = None
    ) -> Mapping[str, int]:
        """Try until it is done or ``lock_deadline`` is over; only a lock in the way is tried again, and a
        capture, which gives way."""
        deadline = time.monotonic() + self.server.settings.lock_deadline
        unwatched: frozenset[int] = frozenset()
        while True:
            try:
                return self._attempt(work, name, unwatched)
            except CaptureInTheWay as error:
                unwatched |= error.tables
                continue
            except Unrecorded as error:
                assert recorder is not None, "only a recorder finds that out"
                recorder.watch(sorted(error.tables))
                continue
            except Rejected as error:
                if error.cause is not Cause.TABLE_LOCK or time.monotonic() >= deadline:
                    raise
            time.sleep(RETRY_PAUSE * random.uniform(0.5, 1.5))

    def _attempt(
        self, work: Callable[[Connection], Work], name: str, unwatched: frozenset[int]
    ) -> Mapping[str, int]:
        with (
            self.server.session() as connection,
            watching(self.server, connection.info.backend_pid) as watch,
        ):
            try:
                connection.execute(BEGIN)
                connection.execute(self.server.guards())
                revisions.lock(connection)
                publication.follow(connection, ours=False)
                publication.give_way(connection, unwatched)
                changed, rows = work(connection)
                if changed:
                    changes.mark(connection, name)
            except ScriptFailed as failed:
                self._refuse_capture(connection, failed.error, unwatched)
                raise self._failure(failed.error, failed.spot, watch) from None
            except psycopg.Error as error:
                raise self._failure(error, self.server.spot, watch) from None
            if not changed:
                connection.execute("ROLLBACK")
                return rows
            self._commit(connection, name, watch)
            return rows

    def _refuse_capture(
        self, connection: Connection, error: psycopg.Error, unwatched: frozenset[int]
    ) -> None:
        """Raises CaptureInTheWay when the statement was refused only because its table is published."""
        if error.sqlstate == failures.NOT_IN_STATE:
            connection.execute("ROLLBACK")
            tables = publication.in_the_way(connection, failures.text(error))
            if tables - unwatched:
                raise CaptureInTheWay(tables) from None

    def _failure(self, error: psycopg.Error, spot: Spot, watch: Watch) -> DriverError:
        if failures.locked(error):
            return failures.table_lock(failures.text(error), describe(watch.last), spot)
        return failures.translate(error, spot)

    def _commit(self, connection: Connection, name: str, watch: Watch) -> None:
        try:
            answer = connection.execute("COMMIT").statusmessage
        except psycopg.Error as error:
            if failures.lost(error):
                raise failures.outcome_unknown(error, self.server.spot, name) from None
            raise self._failure(error, self.server.spot, watch) from None
        if answer != "COMMIT":
            raise OutcomeUnknown(
                N_("the server answered the commit of {name} with {answer}"),
                todo=N_("Look at the revision table before doing anything else."),
                where=self.server.spot.address,
                name=name,
                answer=answer or "nothing",
            )


class CaptureInTheWay(Exception):
    """The migration has to be tried again while nothing watches these tables, by oid."""

    def __init__(self, tables: frozenset[int]) -> None:
        super().__init__()
        self.tables = tables


class ScriptFailed(Exception):
    """A statement of a script failed; becomes one of our errors where the blockers are known."""

    def __init__(self, error: psycopg.Error, spot: Spot) -> None:
        super().__init__(str(error))
        self.error = error
        self.spot = spot
