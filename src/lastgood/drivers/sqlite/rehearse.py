"""A migration tried out on a copy: there and back again, and everything as it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.sqlite import contents
from lastgood.drivers.sqlite.additions import additive
from lastgood.drivers.sqlite.connection import Store
from lastgood.drivers.sqlite.fingerprint import read_listing
from lastgood.drivers.sqlite.journeys import Walker
from lastgood.drivers.sqlite.migrate import Migrator
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.sql.listing import difference, fingerprint
from lastgood.sql.rehearsal import Content, Rehearser, State


@dataclass(frozen=True)
class Trial:
    """``pending`` tried on ``copy``; ``standing`` are the migrations that old code knows."""

    copy: Store
    pending: Sequence[MigrationScript]
    standing: Sequence[MigrationScript]
    journeys: Journeys

    @cached_property
    def _rehearser(self) -> Rehearser:
        return Rehearser(Migrator(self.copy), partial(_look, self.copy), self.copy.spot.address)

    @cached_property
    def _walker(self) -> Walker:
        return Walker(self.copy)

    def run(self) -> Rehearsal:
        """First with nobody writing, then, where there are journeys, with what code writes in between: the
        first time would hide what a revert does to other rows. Raises Rejected.
        """
        speaking = self._rehearser.speaking(self.standing)
        untried = _first(self._walker.untried(journey) for journey in self.journeys.old)
        states, deploy_seconds = self._rehearser.deploy(self.pending, _look(self.copy, None))
        complaint = self._verified(speaking)
        revert_seconds, after = self._rehearser.revert(self.pending, states)
        left = self._rehearser.difference(self.pending, states, after)
        if self.journeys != Journeys() and not left:
            told, left, after = self._write(states[0], None if untried or complaint else speaking)
            complaint = complaint or told
        return Rehearsal(
            fingerprint_before=fingerprint(states[0].listing),
            fingerprint_after=fingerprint(after.listing),
            old_runs_on_new=not complaint,
            deploy_seconds=deploy_seconds,
            revert_seconds=revert_seconds,
            difference=left,
            additive=additive(states[0].listing, states[-1].listing),
            complaint=complaint,
            untried=untried,
        )

    def _write(self, before: State, tried: Sequence[MigrationScript] | None) -> tuple[Message, str, State]:
        """What old code complained of, what the way back left, and the state then. ``tried`` None: it is
        known already what becomes of old code.
        """
        states, _ = self._rehearser.deploy(self.pending, before)
        if self.journeys.new is not None:
            self._walker.write_new(self.journeys.new)
        complaint = Message("")
        if tried is not None:
            failed = (self._walker.write(journey) for journey in self.journeys.old)
            complaint = self._verified(tried) or _first(f.what for f in failed if f is not None)
        written = _look(self.copy, before)
        if written.listing != states[-1].listing:
            raise Rejected(
                N_("a journey.sql changes the schema: {difference}"),
                todo=N_("Let it write rows only; what changes the schema is a migration."),
                where=self.copy.spot.address,
                cause=Cause.SCRIPT_ERROR,
                difference=difference(states[-1].listing, written.listing),
            )
        _, after = self._rehearser.revert(self.pending, [*states[:-1], written])
        return complaint, self._rehearser.fewer(states, written, after), after

    def _verified(self, speaking: Sequence[MigrationScript]) -> Message:
        failed = self._rehearser.migrator.verify(speaking)
        return Message("{failed}", {"failed": failed}) if failed else Message("")


def _first(found: Iterable[Message]) -> Message:
    return next((message for message in found if message), Message(""))


def _look(copy: Store, start: State | None) -> State:
    """The present state; rows of a table are compared over the columns it had at the start."""
    with copy.reading() as connection:
        columns = contents.tables(connection)
        rows: dict[str, Content] = {}
        for name, found in columns.items():
            wanted = start.columns.get(name, found) if start else found
            if all(found.get(column) == kind for column, kind in wanted.items()):
                rows[name] = contents.content(connection, name, list(wanted))
        return State(read_listing(connection), columns, rows)
