"""Journeys: rows written as a release's code writes them, on a copy."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from lastgood.domain.errors import Cause, DriverError, InvalidInput, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.sqlite import failures
from lastgood.drivers.sqlite.connection import Store, bounded
from lastgood.drivers.sqlite.scan import runnable
from lastgood.ports.rehearsing import Journey

_TODO = N_("It writes rows as the new code does, with new keys each time. Nothing was changed.")


@dataclass(frozen=True)
class Walker:
    """Walks journeys on ``store``, with foreign keys, as careful code has them."""

    store: Store

    def write(self, journey: Journey) -> DriverError | None:
        """Run it in a transaction of its own, which is committed. Returns what failed."""
        return self._run(journey, times=1, keep=True)

    def write_new(self, journey: Journey) -> None:
        """Run that of the release that brings the migrations, twice: what is tried later has to be
        repeatable. Raises Rejected.
        """
        for template in (
            N_("{file} fails on the new schema: {error}"),
            N_("{file} can't be run twice: {error}"),
        ):
            failed = self.write(journey)
            if failed is not None:
                raise Rejected(
                    template,
                    todo=_TODO,
                    where=self.store.spot.address,
                    cause=Cause.SCRIPT_ERROR,
                    file=_file(journey),
                    error=failed.what,
                )

    def untried(self, journey: Journey) -> Message:
        """Why it proves nothing, for it fails where its own code runs; empty when it can be relied on."""
        try:
            failed = self._run(journey, times=2, keep=False)
        except InvalidInput as unfit:
            return unfit.what
        return failed.what if failed is not None else Message("")

    def _run(self, journey: Journey, *, times: int, keep: bool) -> DriverError | None:
        statements = runnable(journey.script, _file(journey))
        spot = replace(self.store.spot, file=_file(journey), line=1)
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


def _file(journey: Journey) -> str:
    return f"journey.sql of {journey.whose}"
