"""Journeys: rows written as a release's code writes them, on a copy."""

from __future__ import annotations

from dataclasses import replace

import psycopg

from lastgood.domain.errors import Cause, DriverError, InvalidInput, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql import failures
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.scan import Statement, runnable
from lastgood.ports.rehearsing import Journey

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


def write(server: Server, journey: Journey) -> DriverError | None:
    """Run it as code would: in a transaction of its own, which is committed. Returns what failed.

    Raises Unreachable when the server went away.
    """
    return _run(server, journey, times=1, keep=True)


def write_new(server: Server, journey: Journey) -> None:
    """Run that of the release that brings the migrations, twice: what is tried later has to be repeatable.

    Raises Rejected.
    """
    for template in (
        N_("{file} fails on the new schema: {error}"),
        N_("{file} can't be run twice: {error}"),
    ):
        failed = write(server, journey)
        if failed is not None:
            raise Rejected(
                template,
                todo=N_("It writes rows as the new code does, with new keys each time. Nothing was changed."),
                where=server.spot.address,
                cause=Cause.SCRIPT_ERROR,
                file=_file(journey),
                error=failed.what,
            )


def untried(server: Server, journey: Journey) -> Message:
    """Why it proves nothing, for it fails where its own code runs; empty when it can be relied on.

    Nothing of what it writes is kept.
    """
    try:
        failed = _run(server, journey, times=2, keep=False)
    except InvalidInput as unfit:
        return unfit.what
    return failed.what if failed is not None else Message("")


def _run(server: Server, journey: Journey, *, times: int, keep: bool) -> DriverError | None:
    statements = runnable(journey.script, _file(journey))
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
            spot = replace(server.spot, file=_file(journey), line=line)
            return failures.translate(error, spot)
    return None


def _file(journey: Journey) -> str:
    return f"journey.sql of {journey.whose}"
