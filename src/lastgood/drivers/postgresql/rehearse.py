"""A migration tried out on a copy: there and back again, and everything as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql import contents, journeys
from lastgood.drivers.postgresql.additions import additive
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.fingerprint import difference, fingerprint, in_order, read_listing
from lastgood.drivers.postgresql.migrate import Migrator
from lastgood.drivers.postgresql.recording import wanted
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.sql.rehearsal import Content, Rehearser, State
from lastgood.sql.rehearsal import Migrator as Migrates


@dataclass(frozen=True)
class Written:
    """What became of rows that code wrote: what old code complained of, what the way back left, and where."""

    complaint: Message
    difference: str
    after: State


@dataclass(frozen=True)
class Trial:
    """``pending`` tried on ``copy``; ``standing`` are the migrations that old code knows."""

    copy: Server
    pending: Sequence[MigrationScript]
    standing: Sequence[MigrationScript]
    journeys: Journeys

    def run(self) -> Rehearsal:
        """Each migration is deployed, then each reverted, newest first; and both again with the rows that
        code writes in between, which the first time would hide what a revert does to other rows.

        Raises Rejected when a script fails, or when a revert changes nothing although its deploy did.
        """
        migrator = Migrator(self.copy)
        rehearser = Rehearser(
            migrator, partial(_look, self.copy), self.copy.spot.address, "public.", undoes=wanted
        )
        speaking = rehearser.speaking(self.standing)
        before = _look(self.copy, None)
        untried = self._untried()
        states, deploy_seconds = rehearser.deploy(self.pending, before)
        complaint = _verified(migrator, speaking)
        revert_seconds, after = rehearser.revert(self.pending, states)
        after = _in_order(states, after)
        left = rehearser.difference(self.pending, states, after)
        if self.journeys != Journeys() and not left:
            written = self._write(rehearser, before, None if untried or complaint else speaking)
            complaint = complaint or written.complaint
            left, after = written.difference, written.after
        return Rehearsal(
            fingerprint_before=fingerprint(before.listing),
            fingerprint_after=fingerprint(after.listing),
            old_runs_on_new=not complaint,
            deploy_seconds=deploy_seconds,
            revert_seconds=revert_seconds,
            difference=left,
            additive=additive(before.listing, states[-1].listing),
            complaint=complaint,
            untried=untried,
        )

    def _write(self, rehearser: Rehearser, before: State, tried: Sequence[MigrationScript] | None) -> Written:
        """There and back again, with rows of new code and then of old code, whose verify scripts are
        ``tried`` before; None: it is known already what becomes of old code.
        """
        states, _ = rehearser.deploy(self.pending, before)
        if self.journeys.new is not None:
            journeys.write_new(self.copy, self.journeys.new)
        complaint = Message("")
        if tried is not None:
            complaint = _verified(rehearser.migrator, tried) or self._complaint()
        written = _look(self.copy, before)
        _refuse_changed(self.copy, states[-1], written)
        _, after = rehearser.revert(self.pending, [*states[:-1], written])
        after = _in_order(states, after)
        return Written(complaint, rehearser.fewer(states, written, after), after)

    def _untried(self) -> Message:
        """Old journeys where their own code runs: what fails here says nothing of the new schema."""
        failures = (journeys.untried(self.copy, journey) for journey in self.journeys.old)
        return next((failure for failure in failures if failure), Message(""))

    def _complaint(self) -> Message:
        failures = (journeys.write(self.copy, journey) for journey in self.journeys.old)
        return next((failure.what for failure in failures if failure is not None), Message(""))


def _verified(migrator: Migrates, speaking: Sequence[MigrationScript]) -> Message:
    failed = migrator.verify(speaking)
    return Message("{failed}", {"failed": failed}) if failed else Message("")


def _in_order(states: Sequence[State], after: State) -> State:
    """``after``, with columns that were gone in between where they stood."""
    return replace(after, listing=in_order(states[0].listing, [s.listing for s in states], after.listing))


def _look(copy: Server, start: State | None) -> State:
    """The present state; rows of a table are compared over the columns it had at the start."""
    with copy.reading(statement_timeout=0) as connection:
        listing = read_listing(connection)
        contents.whole_rows(connection)
        found = contents.tables(connection)
        columns = {name: table.columns for name, table in found.items()}
        rows: dict[str, Content] = {}
        for name, table in found.items():
            wanted = start.columns.get(name, table.columns) if start else table.columns
            if all(table.columns.get(column) == kind for column, kind in wanted.items()):
                rows[name] = contents.content(connection, table, list(wanted))
        return State(listing, columns, rows)


def _refuse_changed(copy: Server, deployed: State, written: State) -> None:
    """Raises Rejected when a journey changed more than rows."""
    if written.listing != deployed.listing:
        raise Rejected(
            N_("a journey.sql changes the schema: {difference}"),
            todo=N_("Let it write rows only; what changes the schema is a migration."),
            where=copy.spot.address,
            cause=Cause.SCRIPT_ERROR,
            difference=difference(deployed.listing, written.listing),
        )
