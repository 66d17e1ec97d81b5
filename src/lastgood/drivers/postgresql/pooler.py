"""PgBouncer in front of the database: while the names are swapped its clients wait, and none is refused.

Its console speaks the simple protocol only. ``PAUSE`` returns once no transaction is open, and the pooler has
then closed every connection to the server, so that none of the failed database survives. It outlives the
session that asked for it.
"""

from __future__ import annotations

import contextlib
import logging
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from lastgood.domain.errors import Cause, DriverError, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import failures
from lastgood.drivers.postgresql.connection import APPLICATION
from lastgood.drivers.postgresql.endpoints import Endpoint
from lastgood.ports.content import Vault

log = logging.getLogger(__name__)

Row = dict[str, Any]
OWN = "pgbouncer"
"""The console itself, listed among the databases."""
ANSWER = 5.0
"""Seconds for a command that waits for nobody."""
MEANWHILE = {"min_pool_size": "0", "server_login_retry": "0.01"}
"""Settings of a pooler that is to be paused. It ends a log-in to the server that it meets while it is paused,
takes that for a server that does not let it in, refuses new statements until one succeeds, and tries that
again after ``server_login_retry`` only, 15 s usually; ``min_pool_size`` makes it begin them all the time.
"""
CALM = 3.0
QUIET = 1.0
"""Seconds: it has its own settings back when it is with the server again, or after so many; and for so many
log-ins that it began before are waited for.
"""
_GONE = ("Connection refused", "No such file or directory")


@dataclass(frozen=True)
class Pool:
    """Our database in a pooler, by the ``name`` that it has there. ``session``: its clients keep their
    connection to the server as long as they live, so that nothing ends by waiting.
    """

    name: str
    paused: bool
    session: bool


class Console:
    """One session with the console of a pooler. Raises DriverError where it does not answer or refuses."""

    def __init__(self, endpoint: Endpoint, vault: Vault) -> None:
        self.endpoint = endpoint
        parameters: Row = {"connect_timeout": 5, **endpoint.parameters, "application_name": APPLICATION}
        if endpoint.password:
            parameters["password"] = vault.unseal(endpoint.password)
        with self._errors():
            self._connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)

    def close(self) -> None:
        self._connection.close()

    def send(self, command: str, name: str = "") -> None:
        """Not waited for: see ``answered``."""
        text = command
        if name:
            text = f"{command} {sql.Identifier(name).as_string(self._connection)}"
        with self._errors():
            self._connection.pgconn.send_query(text.encode())

    def answered(self, deadline: float) -> str | None:
        """What the command sent last was answered with by ``deadline`` (monotonic): its own name, usually."""
        pgconn = self._connection.pgconn
        with self._errors():
            while pgconn.is_busy():
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([pgconn.socket], [], [], left)[0]:
                    return None
                pgconn.consume_input()
            results = list(iter(pgconn.get_result, None))
            for result in results:
                if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                    raise psycopg.errors.error_from_result(result)
        return (results[-1].command_status or b"").decode() if results else ""

    def pause(self, name: str, deadline: float) -> bool:
        """Whether nothing of the database was in use by ``deadline``, after ``send("PAUSE", name)``.

        A WAIT_CLOSE that anybody ever gave for it answers every PAUSE too soon, with its own name.
        """
        while (answer := self.answered(deadline)) not in (None, "PAUSE"):
            time.sleep(0.005)
            self.send("PAUSE", name)
        return answer is not None

    def do(self, command: str, name: str = "") -> None:
        self.send(command, name)
        if self.answered(time.monotonic() + ANSWER) is None:
            raise self._down("time-out")

    def show(self, what: str) -> list[Row]:
        with self._errors():
            cursor = self._connection.cursor(row_factory=psycopg.rows.dict_row)
            return cursor.execute(f"SHOW {what}".encode()).fetchall()

    def settings(self) -> dict[str, str]:
        return {str(row["key"]): str(row["value"]) for row in self.show("CONFIG")}

    def pools(self, database: str) -> tuple[Pool, ...]:
        """Those that lead to ``database``: the one declared, else all that name it; none where nobody who is
        connected asked for it. Raises Rejected where the one declared is not there.
        """
        rows = {str(row["name"]): row for row in self.show("DATABASES") if row["name"] != OWN}
        declared = self.endpoint.database
        if declared and declared not in rows:
            raise self._refused(f"no such database: {declared}")
        names = (
            [declared] if declared else [name for name, row in rows.items() if row["database"] == database]
        )
        usual = self.settings().get("pool_mode")
        modes = [(row["database"], row["pool_mode"]) for row in self.show("POOLS")]
        return tuple(
            Pool(
                name,
                bool(rows[name]["paused"]),
                (rows[name]["pool_mode"] or usual) == "session" or (name, "session") in modes,
            )
            for name in names
        )

    def check(self) -> None:
        """Changes nothing: raises Rejected where we may not pause."""
        usual = self.settings()["server_login_retry"]
        self.do(f"SET server_login_retry = '{usual}'")

    def hush(self, names: Sequence[str]) -> None:
        """Be ready for ``PAUSE``: no log-in to the server is under way, none is begun meanwhile."""
        self._set(MEANWHILE)
        self._until(lambda row: int(row["sv_login"]) == 0, names, QUIET)

    def await_paused(self, name: str) -> None:
        """Nobody is let in any more; for a ``PAUSE`` that is not waited for itself."""
        deadline = time.monotonic() + ANSWER
        while not any(row["paused"] for row in self.show("DATABASES") if row["name"] == name):
            if time.monotonic() > deadline:
                raise self._down("time-out")
            time.sleep(0.005)

    def resume(self, names: Sequence[str]) -> None:
        """One that is not paused is left alone."""
        for name in names:
            with contextlib.suppress(Rejected):
                self.do("RESUME", name)

    def calm(self, names: Sequence[str], settings: Mapping[str, str]) -> None:
        """Have its own settings back, once it is with the server again."""
        self._until(_served, names, CALM)
        self._set(settings)

    def _until(self, condition: Callable[[Row], bool], names: Sequence[str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not all(condition(row) for row in self.show("POOLS") if row["database"] in names):
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)

    def _set(self, settings: Mapping[str, str]) -> None:
        for name, value in settings.items():
            try:
                self.do(f"SET {name} = '{value}'")
            except Rejected as error:
                log.warning("pooler %s: %s", self.endpoint.address, error)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            # Its own errors have the code of the protocol; those of a broken line have none.
            if error.sqlstate is None:
                raise self._down(failures.text(error)) from None
            raise self._refused(failures.text(error)) from None

    def _refused(self, error: str) -> Rejected:
        return Rejected(
            N_("the pooler {address} refuses to be paused: {error}"),
            todo=N_("Name it in 'poolers' with a user of its admin_users, and the name that the database "
                    "has there."),
            where=self.endpoint.address,
            cause=Cause.PERMISSION if "access" in error else None,
            address=self.endpoint.address,
            error=error,
        )  # fmt: skip

    def _down(self, error: str) -> DriverError:
        return Unreachable(
            N_("the pooler {address} does not answer: {error}"),
            todo=N_("See that it runs and lets us in, or take it out of 'poolers' if it is no more."),
            where=self.endpoint.address,
            cause=Cause.DEPENDENCY_DOWN,
            address=self.endpoint.address,
            error=error,
        )


def gone(error: Unreachable) -> bool:
    """Nobody listens there: what it had paused waits no longer."""
    return any(part in str(error) for part in _GONE)


@contextlib.contextmanager
def console(endpoint: Endpoint, vault: Vault) -> Iterator[Console]:
    opened = Console(endpoint, vault)
    try:
        yield opened
    finally:
        opened.close()


def _served(pool: Row) -> bool:
    """Nobody waits, or a connection to the server is there."""
    there = sum(int(pool[key]) for key in ("sv_active", "sv_idle", "sv_used", "sv_tested"))
    return int(pool["cl_waiting"]) == 0 or there > 0
