"""Journeys: rows written as a release's code writes them, on a copy."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from lastgood.domain.errors import DriverError
from lastgood.drivers.sqlite import failures
from lastgood.drivers.sqlite.connection import Store, bounded
from lastgood.drivers.sqlite.scan import runnable
from lastgood.ports.rehearsing import Journey
from lastgood.sql.journeys import name_of


@dataclass(frozen=True)
class Writer:
    """Runs journeys on ``store``, with foreign keys, as careful code has them."""

    store: Store

    def run(self, journey: Journey, *, times: int, keep: bool) -> DriverError | None:
        """Source of ``sql.journeys.Writer.run``."""
        statements = runnable(journey.script, name_of(journey))
        spot = replace(self.store.spot, file=name_of(journey), line=1)
        with self.store.session() as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in statements * times:
                    spot = replace(spot, line=statement.line)
                    with bounded(connection, self.store.settings.statement_timeout):
                        connection.execute(statement.text).fetchall()
                connection.execute("COMMIT" if keep else "ROLLBACK")
            except (sqlite3.Error, sqlite3.Warning) as error:
                return failures.translate(error, spot)
        return None
