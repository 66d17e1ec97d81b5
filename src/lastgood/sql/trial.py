"""A migration tried out on a copy with what code writes: there and back again, and everything as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lastgood.domain.message import Message
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.sql.journeys import Writer, refuse_schema, untried, write_new
from lastgood.sql.listing import Listing, difference, fingerprint
from lastgood.sql.rehearsal import Rehearser, State


def as_it_is(before: Listing, between: Sequence[Listing], after: Listing) -> Listing:
    """Where a script can put everything back."""
    return after


@dataclass(frozen=True)
class Written:
    """What became of rows that code wrote: what old code complained of, what the way back left, and where."""

    complaint: Message
    difference: str
    after: State


@dataclass(frozen=True)
class Trial:
    """``pending`` tried on the copy of ``rehearser``, on which ``writer`` writes; ``standing`` are the
    migrations that old code knows. ``additive`` compares the schema before and after. ``settle`` takes out of
    the last listing what no script could have put back, by the first and all before it.
    """

    rehearser: Rehearser
    writer: Writer
    additive: Callable[[Listing, Listing], bool]
    pending: Sequence[MigrationScript]
    standing: Sequence[MigrationScript]
    journeys: Journeys
    settle: Callable[[Listing, Sequence[Listing], Listing], Listing] = as_it_is

    def run(self) -> Rehearsal:
        """Each migration is deployed, then each reverted, newest first; and both again with the rows that
        code writes in between, which the first time would hide what a revert does to other rows.

        Raises Rejected when a script fails, or when a revert changes nothing although its deploy did.
        """
        rehearser = self.rehearser
        speaking = rehearser.speaking(self.standing)
        # What no server takes back (a table without transactions) is there before anything is compared.
        unproven = self._untried()
        before = rehearser.look(None)
        states, deploy_seconds = rehearser.deploy(self.pending, before)
        complaint = self._verified(speaking)
        revert_seconds, after = rehearser.revert(self.pending, states)
        after = self._settled(states, after)
        left = rehearser.difference(self.pending, states, after)
        if self.journeys != Journeys() and not left:
            written = self._write(before, None if unproven or complaint else speaking)
            complaint = complaint or written.complaint
            left, after = written.difference, written.after
        return Rehearsal(
            fingerprint_before=fingerprint(before.listing),
            fingerprint_after=fingerprint(after.listing),
            old_runs_on_new=not complaint,
            deploy_seconds=deploy_seconds,
            revert_seconds=revert_seconds,
            difference=left,
            additive=self.additive(before.listing, states[-1].listing),
            complaint=complaint,
            untried=unproven,
        )

    def _write(self, before: State, tried: Sequence[MigrationScript] | None) -> Written:
        """There and back again, with rows of new code and then of old code, whose verify scripts are
        ``tried`` before; None: it is known already what becomes of old code.
        """
        rehearser = self.rehearser
        states, _ = rehearser.deploy(self.pending, before)
        if self.journeys.new is not None:
            write_new(self.writer, self.journeys.new, rehearser.address)
        complaint = Message("")
        if tried is not None:
            complaint = self._verified(tried) or self._complaint()
        written = rehearser.look(before)
        if written.listing != states[-1].listing:
            raise refuse_schema(difference(states[-1].listing, written.listing), rehearser.address)
        _, after = rehearser.revert(self.pending, [*states[:-1], written])
        after = self._settled(states, after)
        return Written(complaint, rehearser.fewer(states, written, after), after)

    def _settled(self, states: Sequence[State], after: State) -> State:
        listing = self.settle(states[0].listing, [s.listing for s in states], after.listing)
        return replace(after, listing=listing)

    def _untried(self) -> Message:
        """Old journeys where their own code runs: what fails here says nothing of the new schema."""
        failures = (untried(self.writer, journey) for journey in self.journeys.old)
        return next((failure for failure in failures if failure), Message(""))

    def _complaint(self) -> Message:
        failures = (self.writer.run(journey, times=1, keep=True) for journey in self.journeys.old)
        return next((failure.what for failure in failures if failure is not None), Message(""))

    def _verified(self, speaking: Sequence[MigrationScript]) -> Message:
        failed = self.rehearser.migrator.verify(speaking)
        return Message("{failed}", {"failed": failed}) if failed else Message("")
