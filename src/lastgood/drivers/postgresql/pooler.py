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
from collections.abc import Iterator, Sequence
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
AT_ONCE = "0.01"
CALM = 3.0
"""A pooler whose log-in to the server failed tries again after ``server_login_retry`` only, 15 s usually. One
that it began while it was paused counts as failed (``min_pool_size`` makes it begin them). So for the moment
of RESUME it tries at once, and has its own setting back when it is in, or after so many seconds.
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

    def answered(self, deadline: float) -> bool:
        """Whether the command was done by ``deadline`` (monotonic)."""
        pgconn = self._connection.pgconn
        with self._errors():
            while pgconn.is_busy():
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([pgconn.socket], [], [], left)[0]:
                    return False
                pgconn.consume_input()
            results = list(iter(pgconn.get_result, None))
            for result in results:
                if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
                    raise psycopg.errors.error_from_result(result)
        return True

    def do(self, command: str, name: str = "") -> None:
        self.send(command, name)
        if not self.answered(time.monotonic() + ANSWER):
            raise self._down("time-out")

    def show(self, what: str) -> list[Row]:
        with self._errors():
            cursor = self._connection.cursor(row_factory=psycopg.rows.dict_row)
            return cursor.execute(f"SHOW {what}".encode()).fetchall()

    def setting(self, name: str) -> str:
        return next((str(row["value"]) for row in self.show("CONFIG") if row["key"] == name), "")

    def pools(self, database: str) -> tuple[Pool, ...]:
        """Those that lead to ``database``: the one declared, else all that name it, else its own name."""
        rows = {str(row["name"]): row for row in self.show("DATABASES") if row["name"] != OWN}
        names = [self.endpoint.database] if self.endpoint.database else []
        names = names or [name for name, row in rows.items() if row["database"] == database] or [database]
        usual = self.setting("pool_mode")
        modes = [(row["database"], row["pool_mode"]) for row in self.show("POOLS")]
        return tuple(
            Pool(
                name,
                bool(rows.get(name, {}).get("paused")),
                (rows.get(name, {}).get("pool_mode") or usual) == "session" or (name, "session") in modes,
            )
            for name in names
        )

    def check(self, name: str) -> None:
        """Changes nothing: raises Rejected where the pooler does not know it, or we may not pause it."""
        self.send("WAIT_CLOSE", name)
        self.answered(time.monotonic() + ANSWER)

    def resume(self, names: Sequence[str]) -> None:
        """One that is not paused is left alone."""
        self._set_retry(AT_ONCE)
        for name in names:
            with contextlib.suppress(Rejected):
                self.do("RESUME", name)

    def calm(self, names: Sequence[str], retry: str) -> None:
        """Have its own ``server_login_retry`` back, once it is with the server again."""
        deadline = time.monotonic() + CALM
        while any(_stuck(row) for row in self.show("POOLS") if row["database"] in names):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        self._set_retry(retry)

    def _set_retry(self, seconds: str) -> None:
        try:
            self.do(f"SET server_login_retry = '{seconds}'")
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
            raise Rejected(
                N_("the pooler {address} refuses to be paused: {error}"),
                todo=N_("Name it in 'poolers' with a user of its admin_users, and the name that the database "
                        "has there."),
                where=self.endpoint.address,
                cause=Cause.PERMISSION if "access" in str(error) else None,
                address=self.endpoint.address,
                error=failures.text(error),
            ) from None  # fmt: skip

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


def _stuck(pool: Row) -> bool:
    """Clients wait and no connection to the server is there."""
    there = sum(int(pool[key]) for key in ("sv_active", "sv_idle", "sv_used", "sv_tested"))
    return int(pool["cl_waiting"]) > 0 and not there
