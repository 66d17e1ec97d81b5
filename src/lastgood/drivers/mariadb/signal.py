"""Signals answered by one query: attempts and successes since a time, or one number."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pymysql

from lastgood.domain.criterion import Signal
from lastgood.domain.errors import DriverError
from lastgood.drivers.mariadb.connection import Connection, Server, close, run
from lastgood.drivers.mariadb.failures import lost, translate
from lastgood.drivers.mariadb.scan import split, tokens
from lastgood.ports.drivers import Reading
from lastgood.sql.answers import WrongAnswer, only_select, reading, with_since

TIMEOUT = 2.0
"""Seconds a signal's query may take: it is asked every second."""


class SignalReader:
    """Asks through one session that stays open; safe to use from several threads."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        """The server's clock; empty when it can't be asked, and then the first read that can begins.

        Raises InvalidInput when the query is missing or no single SELECT.
        """
        prepare(signal)
        try:
            with self._lock:
                return {"since": self._ask_clock()}
        except (DriverError, pymysql.Error, OSError):
            return {}

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        """Source of ``Measures.read``. Raises only InvalidInput, for a wrong query setting."""
        query = prepare(signal)
        try:
            with self._lock:
                since = cursor.get("since")
                if since is None:
                    return Reading({"since": self._ask_clock()})
                return reading(signal, cursor, self._ask(query, {"since": since}))
        except (DriverError, WrongAnswer) as error:
            return Reading(cursor, error=str(error))
        except (pymysql.Error, OSError) as error:
            return Reading(cursor, error=str(translate(error, self._server.spot)))

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _ask_clock(self) -> str:
        # In the time zone in which the server writes NOW() into the shop's columns.
        return str(self._ask("SELECT CAST(NOW(6) AS char)", None)[0][0])

    def _ask(self, query: str, parameters: Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        """Once more on a new session when the kept one turns out to be dead."""
        fresh = self._connection is None
        while True:
            if self._connection is None:
                self._connection = self._server.connect()
                self._server.guard(self._connection, lock_timeout=TIMEOUT, statement_timeout=TIMEOUT)
            try:
                return self._ask_on(self._connection, query, parameters)
            except (pymysql.Error, OSError) as error:
                if not lost(error):
                    run(self._connection, "ROLLBACK")
                    raise
                self._forget()
                if fresh:
                    raise
                fresh = True

    def _ask_on(
        self, connection: Connection, query: str, parameters: Mapping[str, Any] | None
    ) -> list[tuple[Any, ...]]:
        run(connection, "START TRANSACTION READ ONLY")
        with connection.cursor() as cursor:
            cursor.execute(query, parameters)
            found = list(cursor.fetchmany(2))
        run(connection, "ROLLBACK")
        return found

    def _forget(self) -> None:
        if self._connection is not None:
            close(self._connection)
        self._connection = None


def prepare(signal: Signal) -> str:
    """The query with ``:since`` as PyMySQL wants it. Raises InvalidInput naming what is wrong."""
    query = only_select(signal, split)
    return with_since(
        tokens(query, f"query of signal {signal.name}"), signal.name, "CAST(%(since)s AS datetime(6))"
    )
