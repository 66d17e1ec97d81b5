"""The fence and the swap are one statement of the server: a RENAME of all tables that waits.

It takes its locks in the order of the names, database first. So it gets every table of the live database,
which from then on nobody else reads or writes, and then waits at the *gate*: a table that another session of
ours holds, in the database that is to take the failed tables, whose name comes behind the live one's and
before the copy's. Meanwhile the copy is brought up to date. Then the gate is dropped, and the tables change
their names, all or none, also when the server is killed.

The RENAME wants to make a table with the gate's name. Whoever dies lets go of the gate without dropping it:
then the RENAME is refused, nothing was changed, and everybody goes on. A session that waits meanwhile is not
ended, and sees the restored tables when it goes on.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pymysql

from lastgood.domain.errors import Cause, DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import failures
from lastgood.drivers.mariadb.connection import (
    PREFIX,
    Connection,
    Server,
    close,
    one,
    quoted,
    rows,
    run,
    session_id,
)

AHEAD, GATE, SENTRY = f"{PREFIX}ahead", f"{PREFIX}gate", f"{PREFIX}sentry"
"""``AHEAD`` comes before ``GATE``: who holds that name holds every live table."""

LONGEST = 15
"""Seconds for which the database is closed at most, whatever becomes of us: then the server gives up."""
PAUSE = 0.2
WAIT = 20.0
_SWAP, _HOLDER = "swap", "gate"
"""Locks of the two sessions of a fence, which the server forgets when it has ended what they were at."""
_HELD, _FREE = 1205, 1146

_TABLES = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') ORDER BY 1
"""


@contextlib.contextmanager
def alone(server: Server) -> Iterator[Connection]:
    """A session for the restores of this database, one at a time; the server forgets the lock when we die.

    Raises Rejected when another one is at work for longer than that takes.
    """
    with server.at("").patient_session() as connection:
        obtain(connection, server, "restore")
        yield connection


def obtain(connection: Connection, server: Server, what: str) -> None:
    """A lock that ends with the session. Raises Rejected when another session does not let go of it."""
    if one(connection, "SELECT GET_LOCK(%s, %s)", _lock(server, what), WAIT) != 1:
        raise Rejected(
            N_("another restore of {address} is at work"),
            todo=N_("Wait until it is done, then look again: lastgood status"),
            where=server.spot.address,
            cause=Cause.TABLE_LOCK,
            address=server.spot.address,
        )


def _lock(server: Server, what: str) -> str:
    return f"{PREFIX}{what} {server.database}"[:64]


def tables(connection: Connection, schema: str) -> list[str]:
    """Everything that a RENAME moves."""
    return [str(name) for (name,) in rows(connection, _TABLES, schema)]


@dataclass
class Fence:
    """Of the live database; ``seconds`` is what the renames took once they could go on."""

    server: Server
    copy: str
    failed: str
    seconds: float = 0.0
    _error: BaseException | None = None

    @contextlib.contextmanager
    def closed(self, admin: Connection) -> Iterator[None]:
        """Nobody is in a table of the live database while the block runs; behind it the names are swapped.
        An error opens the database as it was.

        Raises Rejected when a table can't be had, OutcomeUnknown when the answer of the RENAME is lost.
        """
        statement = self._prepare(admin)
        with self.server.at("").patient_session() as gate, self.server.at("").patient_session() as swap:
            obtain(swap, self.server, _SWAP)
            obtain(gate, self.server, _HOLDER)
            run(gate, f"LOCK TABLES {quoted(self.failed, GATE)} WRITE")
            number = session_id(swap)
            thread = threading.Thread(target=self._rename, args=(swap, statement), daemon=True)
            done = False
            try:
                thread = self._patiently(admin, swap, statement, number)
                yield
                begun = time.monotonic()
                run(gate, f"DROP TABLE {quoted(self.failed, GATE)}")
                run(gate, "UNLOCK TABLES")
                done = True
                thread.join()
                self.seconds = time.monotonic() - begun
            finally:
                if not done:
                    self._give_up(admin, gate, number, thread)
        self._judge()

    def _patiently(
        self, admin: Connection, swap: Connection, statement: str, number: int
    ) -> threading.Thread:
        """Until the RENAME has all live tables; it does not stand in everybody's way longer than a lock may
        be waited for, and tries again.
        """
        settings = self.server.settings
        deadline = time.monotonic() + settings.lock_deadline
        while True:
            self._error = None
            thread = threading.Thread(target=self._rename, args=(swap, statement), daemon=True)
            thread.start()
            if self._closed(thread, time.monotonic() + settings.lock_timeout):
                return thread
            kill(admin, number, query=True)
            thread.join()
            if self._error is not None and failures.number(self._error) not in (_HELD, 1317):
                self._judge()
            if time.monotonic() > deadline:
                raise Rejected(
                    N_("the tables of {address} are held by other sessions, so that they can't be swapped"),
                    todo=N_("Look for long transactions in SHOW PROCESSLIST, end them, then try again."),
                    where=self.server.spot.address,
                    cause=Cause.TABLE_LOCK,
                    address=self.server.spot.address,
                )
            time.sleep(PAUSE * random.uniform(0.5, 1.5))

    def _closed(self, thread: threading.Thread, deadline: float) -> bool:
        with self.server.at("").session() as probe:
            run(probe, "SET SESSION lock_wait_timeout = 0")
            while thread.is_alive() and time.monotonic() < deadline:
                try:
                    run(probe, f"SELECT 1 FROM {quoted(self.failed, AHEAD)} LIMIT 0")
                except pymysql.Error as error:
                    if failures.number(error) == _HELD:
                        return True
                    if failures.number(error) != _FREE:
                        raise
                time.sleep(0.002)
        return False

    def _rename(self, swap: Connection, statement: str) -> None:
        try:
            run(swap, f"SET SESSION lock_wait_timeout = {LONGEST}")
            run(swap, statement)
        except (pymysql.Error, OSError) as error:
            self._error = error

    def _prepare(self, admin: Connection) -> str:
        """The statement, with the tables that it needs in its way."""
        run(admin, f"CREATE DATABASE IF NOT EXISTS {quoted(self.failed)}")
        run(admin, f"CREATE TABLE IF NOT EXISTS {quoted(self.failed, GATE)} (id int PRIMARY KEY)")
        for name in (AHEAD, SENTRY):
            run(admin, f"CREATE TABLE IF NOT EXISTS {quoted(self.copy, name)} (id int PRIMARY KEY)")
        live = self.server.database
        pairs = [((self.copy, SENTRY), (self.failed, GATE)), ((self.copy, AHEAD), (self.failed, AHEAD))]
        pairs += [((live, name), (self.failed, name)) for name in tables(admin, live)]
        pairs += [
            ((self.copy, name), (live, name))
            for name in tables(admin, self.copy)
            if name not in (AHEAD, SENTRY)
        ]
        return "RENAME TABLE " + ", ".join(f"{quoted(*here)} TO {quoted(*there)}" for here, there in pairs)

    def _give_up(self, admin: Connection, gate: Connection, number: int, thread: threading.Thread) -> None:
        """The RENAME first: without the gate it would be refused, but nobody should have to wait for that."""
        with contextlib.suppress(pymysql.Error, OSError, DriverError):
            kill(admin, number)
        close(gate)
        if thread.is_alive():
            thread.join()

    def _judge(self) -> None:
        """What became of the RENAME."""
        error = self._error
        if error is None:
            return
        if failures.lost(error):
            raise failures.outcome_unknown(error, self.server.spot, "restore")
        if failures.number(error) == _HELD:
            raise Rejected(
                N_("what was written meanwhile took longer than {seconds} seconds to carry over"),
                todo=N_("Nothing was changed. Try again when less is written."),
                where=self.server.spot.address,
                seconds=LONGEST,
            )
        raise failures.translate(error, self.server.spot)


def kill(admin: Connection, number: int, *, query: bool = False) -> None:
    """A session of ours, or what it is at; one that is gone is left alone."""
    with contextlib.suppress(pymysql.err.OperationalError):
        run(admin, f"KILL {'QUERY ' if query else ''}{int(number)}")


def open_again(admin: Connection, server: Server) -> None:
    """What a crash left of a fence: a RENAME that still waits, and databases that took nothing.

    A RENAME that is past waiting is not ended by KILL: nothing is looked at before it is over. Raises
    Rejected when it does not end.
    """
    for what in (_SWAP, _HOLDER):
        holder = one(admin, "SELECT IS_USED_LOCK(%s)", _lock(server, what))
        if holder is not None:
            kill(admin, int(holder))
        obtain(admin, server, what)
        run(admin, "SELECT RELEASE_LOCK(%s)", _lock(server, what))
    failed = re.compile(rf"{re.escape(server.database)}_failed_\d{{8}}_\d{{6}}_\d{{3}}")
    found = [str(name) for (name,) in rows(admin, "SELECT schema_name FROM information_schema.schemata")]
    for name in filter(failed.fullmatch, found):
        if set(tables(admin, name)) <= {GATE, AHEAD}:
            for table in (GATE, AHEAD):
                run(admin, f"DROP TABLE IF EXISTS {quoted(name, table)}")
            if not tables(admin, name):
                run(admin, f"DROP DATABASE {quoted(name)}")
