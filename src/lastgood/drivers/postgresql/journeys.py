"""Journeys on PostgreSQL: one transaction each, as code has it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psycopg

from lastgood.domain.errors import DriverError
from lastgood.drivers.postgresql import failures
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.scan import Statement, runnable
from lastgood.ports.rehearsing import Journey
from lastgood.sql.journeys import name_of

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


@dataclass(frozen=True)
class Writer:
    """Writes in the database of ``server``."""

    server: Server

    def run(self, journey: Journey, *, times: int, keep: bool) -> DriverError | None:
        """Source of ``sql.journeys.Writer.run``."""
        server = self.server
        statements = runnable(journey.script, name_of(journey))
        with server.session() as connection:
            connection.execute(BEGIN)
            connection.execute(server.guards())
            statement: Statement | None = None
            try:
                for statement in statements * times:
                    connection.execute(statement.text)
                    if statement.touches_settings:
                        connection.execute(server.guards())
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                connection.execute("COMMIT" if keep else "ROLLBACK")
            except psycopg.Error as error:
                if failures.lost(error):
                    raise
                line = statement.line_of(int(error.diag.statement_position or 1)) if statement else 1
                spot = replace(server.spot, file=name_of(journey), line=line)
                return failures.translate(error, spot)
        return None
