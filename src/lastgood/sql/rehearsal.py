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
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.sql.listing import Listing, difference, fingerprint


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
    where the database is, ``usual`` begins the names of what lies where everything does.
    """

    migrator: Migrator
    look: Callable[[State | None], State]
    address: str
    usual: str = ""

    def rehearse(self, pending: Sequence[MigrationScript], standing: Sequence[MigrationScript]) -> Rehearsal:
        """Source of ``Migrates.rehearse``: each is deployed, then each reverted, newest first.

        Raises Rejected when a script fails, or when a revert changes nothing although its deploy did.
        """
        before = self.look(None)
        states = [before]
        deploy_seconds: dict[str, float] = {}
        revert_seconds: dict[str, float] = {}
        for migration in pending:
            deploy_seconds[migration.name] = _timed(self.migrator.deploy, migration)
            states.append(self.look(before))
        complaint = self.migrator.verify(standing)
        present = states[-1]
        for migration, wanted, deployed in reversed(list(zip(pending, states[:-1], states[1:], strict=True))):
            revert_seconds[migration.name] = _timed(self.migrator.revert, migration)
            after = self.look(before)
            if after.same_as(present) and not deployed.same_as(wanted):
                raise self._useless(migration, difference(wanted.listing, after.listing, usual=self.usual))
            present = after
        return Rehearsal(
            fingerprint_before=fingerprint(before.listing),
            fingerprint_after=fingerprint(present.listing),
            old_runs_on_new=not complaint,
            deploy_seconds=deploy_seconds,
            revert_seconds=revert_seconds,
            difference=self._difference(before, states[-1], present),
        )

    def _difference(self, before: State, deployed: State, after: State) -> str:
        """What the way back left: of the schema anything, of rows those that the migration had left alone."""
        lines = [difference(before.listing, after.listing, usual=self.usual)]
        for name, rows in sorted(before.rows.items()):
            now = after.rows.get(name)
            if deployed.rows.get(name) == rows and now is not None and now != rows:
                table = name.removeprefix(self.usual)
                lines.append(f"table {table} has other rows: it had {rows.rows}, and has {now.rows}")
        return "\n".join(line for line in lines if line)

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
