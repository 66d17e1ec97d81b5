"""A migration tried out on a copy: there and back again, and everything as it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import contents, journeys
from lastgood.drivers.postgresql.additions import additive
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.fingerprint import Listing, difference, fingerprint, read_listing
from lastgood.drivers.postgresql.migrate import Migrator
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journeys


@dataclass(frozen=True)
class State:
    """Schema and rows of the copy; ``rows`` over ``columns``, those of the start where they still are."""

    listing: Listing
    columns: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, contents.Content]

    def same_as(self, other: State) -> bool:
        return self.listing == other.listing and self.rows == other.rows


@dataclass(frozen=True)
class Trial:
    """``pending`` tried on ``copy``; ``standing`` are the migrations that old code knows."""

    copy: Server
    pending: Sequence[MigrationScript]
    standing: Sequence[MigrationScript]
    journeys: Journeys

    def run(self) -> Rehearsal:
        """Each migration is deployed, rows are written, then each is reverted, newest first.

        Raises Rejected when a script fails, or when a revert changes nothing although its deploy did.
        """
        migrator = Migrator(self.copy)
        before = _look(self.copy, None)
        untried = self._untried()
        states = [before]
        deploy_seconds: dict[str, float] = {}
        for migration in self.pending:
            deploy_seconds[migration.name] = _timed(migrator, migration, deploy=True)
            states.append(_look(self.copy, before))
        if self.journeys.new is not None:
            journeys.write_new(self.copy, self.journeys.new)
        complaint = migrator.verify(self.standing) or ("" if untried else self._complaint())
        written = self._written(before, states[-1])
        revert_seconds, after = self._revert(migrator, states, written)
        return Rehearsal(
            fingerprint_before=fingerprint(before.listing),
            fingerprint_after=fingerprint(after.listing),
            old_runs_on_new=not complaint,
            deploy_seconds=deploy_seconds,
            revert_seconds=revert_seconds,
            difference=_difference(before, states[-1], written, after),
            additive=additive(before.listing, states[-1].listing),
            complaint=complaint,
            untried=untried,
        )

    def _untried(self) -> str:
        """Old journeys where their own code runs: what fails here says nothing of the new schema."""
        failures = (journeys.untried(self.copy, journey) for journey in self.journeys.old)
        return next((failure for failure in failures if failure), "")

    def _complaint(self) -> str:
        failures = (journeys.write(self.copy, journey) for journey in self.journeys.old)
        return next((str(failure.what) for failure in failures if failure is not None), "")

    def _written(self, before: State, deployed: State) -> State:
        """The copy with the rows of the journeys. Raises Rejected when one changed more than rows."""
        if self.journeys == Journeys():
            return deployed
        written = _look(self.copy, before)
        if written.listing != deployed.listing:
            raise Rejected(
                N_("a journey.sql changes the schema: {difference}"),
                todo=N_("Let it write rows only; what changes the schema is a migration."),
                where=self.copy.spot.address,
                cause=Cause.SCRIPT_ERROR,
                difference=difference(deployed.listing, written.listing),
            )
        return written

    def _revert(
        self, migrator: Migrator, states: Sequence[State], written: State
    ) -> tuple[dict[str, float], State]:
        """Seconds by migration, and the state it leaves."""
        seconds: dict[str, float] = {}
        present = written
        steps = list(zip(self.pending, states[:-1], states[1:], strict=True))
        for migration, wanted, deployed in reversed(steps):
            seconds[migration.name] = _timed(migrator, migration, deploy=False)
            after = _look(self.copy, states[0])
            if after.same_as(present) and not deployed.same_as(wanted):
                raise _useless(self.copy, migration, difference(wanted.listing, after.listing))
            present = after
        return seconds, present


def _timed(migrator: Migrator, migration: MigrationScript, *, deploy: bool) -> float:
    start = time.monotonic()
    act = migrator.deploy if deploy else migrator.revert
    act(migration, "rehearsal")
    return time.monotonic() - start


def _look(copy: Server, start: State | None) -> State:
    """The present state; rows of a table are compared over the columns it had at the start."""
    with copy.reading(statement_timeout=0) as connection:
        listing = read_listing(connection)
        contents.whole_rows(connection)
        found = contents.tables(connection)
        columns = {name: table.columns for name, table in found.items()}
        rows: dict[str, contents.Content] = {}
        for name, table in found.items():
            wanted = start.columns.get(name, table.columns) if start else table.columns
            if all(table.columns.get(column) == kind for column, kind in wanted.items()):
                rows[name] = contents.content(connection, table, list(wanted))
        return State(listing, columns, rows)


def _difference(before: State, deployed: State, written: State, after: State) -> str:
    """What the way back left: of the schema anything, of the rows those the migration had left alone, as they
    were once the journeys had ``written``.
    """
    lines = [difference(before.listing, after.listing)]
    for name, rows in sorted(before.rows.items()):
        now, wanted = after.rows.get(name), written.rows.get(name, rows)
        if deployed.rows.get(name) == rows and now is not None and now != wanted:
            table = name.removeprefix("public.")
            lines.append(f"table {table} has other rows: it had {wanted.rows}, and has {now.rows}")
    return "\n".join(line for line in lines if line)


def _useless(server: Server, migration: MigrationScript, left: str) -> Rejected:
    return Rejected(
        N_("revert.sql of {name} changes nothing, although deploy.sql did: {difference}"),
        todo=N_("Write the statements that undo deploy.sql."),
        where=server.spot.address,
        cause=Cause.SCRIPT_ERROR,
        name=migration.name,
        difference=left or "rows are still changed",
    )
