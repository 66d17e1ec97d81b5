"""Signals answered by one query: attempts and successes since a time, or one number."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from lastgood.domain.criterion import Signal
from lastgood.domain.errors import DriverError, InvalidInput
from lastgood.domain.message import N_
from lastgood.drivers.postgresql.connection import Connection, Server
from lastgood.drivers.postgresql.failures import translate
from lastgood.drivers.postgresql.scan import Token, split, tokens
from lastgood.ports.drivers import Reading
from lastgood.sql.answers import WrongAnswer, reading

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


def prepare(signal: Signal) -> str:
    """The query with ``:since`` as psycopg wants it. Raises InvalidInput naming what is wrong."""
    query = signal.settings.get("query")
    if not isinstance(query, str) or not query.strip():
        raise InvalidInput(
            N_("signal {name} has no query"),
            todo=N_("Write one SELECT into its setting 'query'."),
            name=signal.name,
        )
    file = f"query of signal {signal.name}"
    statements = split(query, file)
    if len(statements) != 1 or statements[0].words[:1] not in (("SELECT",), ("WITH",)):
        raise InvalidInput(
            N_("the query of signal {name} is not one SELECT"),
            todo=N_("Write exactly one SELECT; it runs in a read-only transaction."),
            name=signal.name,
        )
    return _with_parameters(tokens(statements[0].text, file), signal.name)


def _with_parameters(found: list[Token], name: str) -> str:
    """``:since`` outside strings, names, comments and casts becomes a parameter."""
    parts: list[str] = []
    position = 0
    while position < len(found):
        token = found[position]
        following = found[position + 1] if position + 1 < len(found) else None
        previous = found[position - 1] if position else None
        glued = previous is not None and previous.kind in ("word", "number", "close", "name")
        if token.text == ":" and following and following.kind == "word" and not glued:
            if following.text != "since":
                raise InvalidInput(
                    N_("the query of signal {name} has the unknown parameter :{parameter}"),
                    todo=N_("The only one is :since, the time since which events count."),
                    name=name,
                    parameter=following.text,
                )
            parts.append("%(since)s::timestamptz")
            position += 2
            continue
        parts.append(token.text.replace("%", "%%"))
        position += 1
    return "".join(parts)
