"""Signals answered by one query: attempts and successes since a time, or one number."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from lastgood.domain.criterion import Signal
from lastgood.domain.errors import DriverError
from lastgood.drivers.postgresql.connection import Connection, Server
from lastgood.drivers.postgresql.failures import translate
from lastgood.drivers.postgresql.scan import split, tokens
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
        except (DriverError, psycopg.Error):
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
        except psycopg.Error as error:
            return Reading(cursor, error=str(translate(error, self._server.spot)))

    def close(self) -> None:
        with self._lock:
            self._forget()

    def _ask_clock(self) -> str:
        return str(self._ask("SELECT clock_timestamp()::text", None)[0][0])

    def _ask(self, query: str, parameters: Mapping[str, Any] | None) -> list[tuple[Any, ...]]:
        """Once more on a new session when the kept one turns out to be dead."""
        for fresh in (False, True):
            connection = self._connection
            if connection is None or connection.closed or fresh:
                self._forget()
                connection = self._connection = self._server.connect()
                fresh = True
            try:
                return self._ask_on(connection, query, parameters)
            except psycopg.OperationalError:
                if fresh or not connection.closed:
                    raise
        raise AssertionError("the second turn returns or raises")

    def _ask_on(
        self, connection: Connection, query: str, parameters: Mapping[str, Any] | None
    ) -> list[tuple[Any, ...]]:
        limit = sql.Literal(round(TIMEOUT * 1000))
        connection.execute(
            sql.SQL("BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}").format(
                limit, limit
            )
        )
        try:
            cursor = connection.execute(query, parameters)
            return cursor.fetchmany(2)
        finally:
            if not connection.closed:
                connection.execute("ROLLBACK")

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


GLUED = frozenset({"word", "number", "close", "name"})
"""Behind these, ``:`` is no parameter but part of a slice or a cast."""


def prepare(signal: Signal) -> str:
    """The query with ``:since`` as psycopg wants it. Raises InvalidInput naming what is wrong."""
    query = only_select(signal, split)
    return with_since(
        tokens(query, f"query of signal {signal.name}"), signal.name, "%(since)s::timestamptz", GLUED
    )
