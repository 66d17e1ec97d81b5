"""Signals answered by one query: attempts and successes since a time, or one number."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lastgood.domain.criterion import Signal
from lastgood.domain.errors import DriverError
from lastgood.drivers.sqlite.connection import Store, bounded
from lastgood.drivers.sqlite.failures import translate
from lastgood.drivers.sqlite.scan import split, tokens
from lastgood.ports.drivers import Reading
from lastgood.sql.answers import WrongAnswer, only_select, reading, with_since

TIMEOUT = 2.0
"""Seconds a signal's query may take: it is asked every second."""


@dataclass(frozen=True)
class SignalReader:
    """Asks the database of ``store``, each time in a session of its own."""

    store: Store

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        """The time; empty when the file can't be read, and then the first read that can begins.

        Raises InvalidInput when the query is missing or no single SELECT.
        """
        prepare(signal)
        try:
            return self._since()
        except DriverError:
            return {}

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        """Source of ``Measures.read``. Raises only InvalidInput, for a wrong query setting."""
        query = prepare(signal)
        try:
            if cursor.get("since") is None:
                return Reading(self._since())
            return reading(signal, cursor, self._ask(query, {"since": cursor["since"]}))
        except (DriverError, WrongAnswer) as error:
            return Reading(cursor, error=str(error))

    def _since(self) -> Mapping[str, str]:
        # As the library itself writes a time, in UTC: text that sorts.
        self._ask("SELECT count(*) FROM sqlite_schema", {})
        return {"since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}"}

    def _ask(self, query: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with self.store.session(lock_timeout=TIMEOUT) as connection:
            connection.execute("PRAGMA query_only = ON")
            with bounded(connection, TIMEOUT):
                try:
                    return connection.execute(query, parameters).fetchmany(2)
                except sqlite3.Warning as error:
                    raise translate(error, self.store.spot) from None


def prepare(signal: Signal) -> str:
    """The query. Raises InvalidInput naming what is wrong."""
    query = only_select(signal, split)
    found = with_since(tokens(query, f"query of signal {signal.name}"), signal.name, ":since")
    return found.replace("%%", "%")
