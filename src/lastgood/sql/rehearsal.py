"""A migration tried out on a copy: there and back again, and everything as it was. The copy is the
driver's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.ports.drivers import MigrationScript
from lastgood.sql.listing import Listing, difference


@dataclass(frozen=True)
class Content:
    """Rows of a table, and a sum over their digests that does not depend on their order."""

    rows: int
    checksum: str


@dataclass(frozen=True)
class State:
    """Schema and rows of the copy; ``rows`` over ``columns``, those of the start where they still are."""

    listing: Listing
    columns: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, Content]

    def same_as(self, other: State) -> bool:
        return self.listing == other.listing and self.rows == other.rows


class Migrator(Protocol):
    """Migrates the copy."""

    def deploy(self, migration: MigrationScript, key: str) -> object: ...

    def revert(self, migration: MigrationScript, key: str) -> object: ...

    def verify(self, migrations: Sequence[MigrationScript]) -> str:
        """The first failure in words, or ``""``."""


@dataclass(frozen=True)
class Rehearser:
    """``look`` sees the copy; rows are compared over the columns of the state it is given. ``address`` is
    where the database is, ``usual`` begins the names of what lies where everything does. ``undoes`` tells
    the migrations that promise to undo what they do to rows.
    """

    migrator: Migrator
    look: Callable[[State | None], State]
    address: str
    usual: str = ""
    undoes: Callable[[MigrationScript], bool] = lambda migration: False

    def speaking(self, standing: Sequence[MigrationScript]) -> list[MigrationScript]:
        """Those whose verify.sql tells something about the release that stands: it passes before anything is
        changed. What a later migration of that release took away, an earlier one still asks for. The newest
        one always counts.
        """
        return [m for m in standing[:-1] if not self.migrator.verify([m])] + list(standing[-1:])

    def deploy(
        self, pending: Sequence[MigrationScript], before: State
    ) -> tuple[list[State], dict[str, float]]:
        """The state before the first and after each, and seconds by migration."""
        states, seconds = [before], dict[str, float]()
        for migration in pending:
            seconds[migration.name] = _timed(self.migrator.deploy, migration)
            states.append(self.look(before))
        return states, seconds

    def revert(
        self, pending: Sequence[MigrationScript], states: Sequence[State]
    ) -> tuple[dict[str, float], State]:
        """Seconds by migration, and the state it leaves. ``states``: before the first and after each."""
        seconds: dict[str, float] = {}
        present = states[-1]
        for migration, former, deployed in reversed(list(zip(pending, states[:-1], states[1:], strict=True))):
            seconds[migration.name] = _timed(self.migrator.revert, migration)
            after = self.look(states[0])
            if after.same_as(present) and not deployed.same_as(former):
                raise self._useless(migration, difference(former.listing, after.listing, usual=self.usual))
            present = after
        return seconds, present

    def difference(self, pending: Sequence[MigrationScript], states: Sequence[State], after: State) -> str:
        """What the way back left: of the schema anything, of the rows those that have to be as before."""
        lines = [difference(states[0].listing, after.listing, usual=self.usual)]
        moved = self._moved(pending, states)
        for name, rows in sorted(states[0].rows.items()):
            now = after.rows.get(name)
            if name not in moved and now is not None and now != rows:
                lines.append(self.other_rows(name, rows, now))
        return "\n".join(line for line in lines if line)

    def fewer(self, states: Sequence[State], written: State, after: State) -> str:
        """The same once code wrote: a revert may change rows that came since, to bring values to where the
        old schema holds them, but none may be missing.
        """
        lines = [difference(states[0].listing, after.listing, usual=self.usual)]
        for name, rows in sorted(states[0].rows.items()):
            there, now = written.rows.get(name), after.rows.get(name)
            left_alone = states[-1].rows.get(name) == rows
            if left_alone and there is not None and now is not None and now.rows < there.rows:
                lines.append(self.other_rows(name, there, now))
        return "\n".join(line for line in lines if line)

    def _moved(self, pending: Sequence[MigrationScript], states: Sequence[State]) -> frozenset[str]:
        """Tables whose rows some migration changed that does not promise to undo them."""
        return frozenset(
            name
            for migration, was, now in zip(pending, states[:-1], states[1:], strict=True)
            if not self.undoes(migration)
            for name, rows in was.rows.items()
            if now.rows.get(name) != rows
        )

    def other_rows(self, name: str, wanted: Content, now: Content) -> str:
        table = name.removeprefix(self.usual)
        return f"table {table} has other rows: it had {wanted.rows}, and has {now.rows}"

    def _useless(self, migration: MigrationScript, left: str) -> Rejected:
        return Rejected(
            N_("revert.sql of {name} changes nothing, although deploy.sql did: {difference}"),
            todo=N_("Write the statements that undo deploy.sql."),
            where=self.address,
            cause=Cause.SCRIPT_ERROR,
            name=migration.name,
            difference=left or "rows are still changed",
        )


def _timed(act: Callable[[MigrationScript, str], object], migration: MigrationScript) -> float:
    start = time.monotonic()
    act(migration, "rehearsal")
    return time.monotonic() - start
