"""A migration tried out on a copy: there and back again, and everything as it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql import contents, journeys
from lastgood.drivers.postgresql.additions import additive
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.fingerprint import Listing, difference, fingerprint, in_order, read_listing
from lastgood.drivers.postgresql.migrate import Migrator
from lastgood.drivers.postgresql.recording import wanted
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
        speaking = _speaking(migrator, self.standing)
        before = _look(self.copy, None)
        untried = self._untried()
        states, deploy_seconds = self._deploy(migrator, before)
        complaint = _verified(migrator, speaking)
        revert_seconds, after = self._revert(migrator, states)
        after = _in_order(states, after)
        left = _difference(before, _moved(self.pending, states), after)
        if self.journeys != Journeys() and not left:
            written = self._write(migrator, before, None if untried or complaint else speaking)
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

    def _deploy(self, migrator: Migrator, before: State) -> tuple[list[State], dict[str, float]]:
        """The state before the first and after each, and seconds by migration."""
        states, seconds = [before], dict[str, float]()
        for migration in self.pending:
            seconds[migration.name] = _timed(migrator, migration, deploy=True)
            states.append(_look(self.copy, before))
        return states, seconds

    def _write(self, migrator: Migrator, before: State, tried: Sequence[MigrationScript] | None) -> Written:
        """There and back again, with rows of new code and then of old code, whose verify scripts are
        ``tried`` before; None: it is known already what becomes of old code.
        """
        states, _ = self._deploy(migrator, before)
        if self.journeys.new is not None:
            journeys.write_new(self.copy, self.journeys.new)
        complaint = Message("")
        if tried is not None:
            complaint = _verified(migrator, tried) or self._complaint()
        written = _look(self.copy, before)
        _refuse_changed(self.copy, states[-1], written)
        _, after = self._revert(migrator, [*states[:-1], written])
        after = _in_order(states, after)
        return Written(complaint, _fewer(states, written, after), after)

    def _untried(self) -> Message:
        """Old journeys where their own code runs: what fails here says nothing of the new schema."""
        failures = (journeys.untried(self.copy, journey) for journey in self.journeys.old)
        return next((failure for failure in failures if failure), Message(""))

    def _complaint(self) -> Message:
        failures = (journeys.write(self.copy, journey) for journey in self.journeys.old)
        return next((failure.what for failure in failures if failure is not None), Message(""))

    def _revert(self, migrator: Migrator, states: Sequence[State]) -> tuple[dict[str, float], State]:
        """Seconds by migration, and the state it leaves. ``states``: before the first and after each."""
        seconds: dict[str, float] = {}
        present = states[-1]
        steps = list(zip(self.pending, states[:-1], states[1:], strict=True))
        for migration, former, deployed in reversed(steps):
            seconds[migration.name] = _timed(migrator, migration, deploy=False)
            after = _look(self.copy, states[0])
            if after.same_as(present) and not deployed.same_as(former):
                raise _useless(self.copy, migration, difference(former.listing, after.listing))
            present = after
        return seconds, present


def _verified(migrator: Migrator, speaking: Sequence[MigrationScript]) -> Message:
    failed = migrator.verify(speaking)
    return Message("{failed}", {"failed": failed}) if failed else Message("")


def _in_order(states: Sequence[State], after: State) -> State:
    """``after``, with columns that were gone in between where they stood."""
    return replace(after, listing=in_order(states[0].listing, [s.listing for s in states], after.listing))


def _speaking(migrator: Migrator, standing: Sequence[MigrationScript]) -> list[MigrationScript]:
    """Those whose verify.sql tells something about the release that stands: it passes before anything is
    changed. What a later migration of that release took away, an earlier one still asks for. The newest
    one always counts.
    """
    return [m for m in standing[:-1] if not migrator.verify([m])] + list(standing[-1:])


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


def _moved(pending: Sequence[MigrationScript], states: Sequence[State]) -> frozenset[str]:
    """Tables whose rows some migration changed that does not promise to undo them."""
    return frozenset(
        name
        for migration, was, now in zip(pending, states[:-1], states[1:], strict=True)
        if not wanted(migration)
        for name, rows in was.rows.items()
        if now.rows.get(name) != rows
    )


def _difference(before: State, moved: frozenset[str], after: State) -> str:
    """What the way back left: of the schema anything, of the rows those that have to be as before."""
    lines = [difference(before.listing, after.listing)]
    for name, rows in sorted(before.rows.items()):
        now = after.rows.get(name)
        if name not in moved and now is not None and now != rows:
            lines.append(_other_rows(name, rows, now))
    return "\n".join(line for line in lines if line)


def _fewer(states: Sequence[State], written: State, after: State) -> str:
    """The same once code wrote: a revert may change rows that came since, to bring values to where the old
    schema holds them, but none may be missing.
    """
    lines = [difference(states[0].listing, after.listing)]
    for name in _left_alone(states[0], states[-1]):
        there, now = written.rows.get(name), after.rows.get(name)
        if there is not None and now is not None and now.rows < there.rows:
            lines.append(_other_rows(name, there, now))
    return "\n".join(line for line in lines if line)


def _left_alone(before: State, deployed: State) -> Mapping[str, contents.Content]:
    return {name: rows for name, rows in sorted(before.rows.items()) if deployed.rows.get(name) == rows}


def _other_rows(name: str, wanted: contents.Content, now: contents.Content) -> str:
    table = name.removeprefix("public.")
    return f"table {table} has other rows: it had {wanted.rows}, and has {now.rows}"


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


def _useless(server: Server, migration: MigrationScript, left: str) -> Rejected:
    return Rejected(
        N_("revert.sql of {name} changes nothing, although deploy.sql did: {difference}"),
        todo=N_("Write the statements that undo deploy.sql."),
        where=server.spot.address,
        cause=Cause.SCRIPT_ERROR,
        name=migration.name,
        difference=left or "rows are still changed",
    )
