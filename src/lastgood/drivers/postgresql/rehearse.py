"""A migration tried out on a copy: there and back again, and everything as it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import contents
from lastgood.drivers.postgresql.binaries import Binaries
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.fingerprint import Listing, difference, fingerprint, in_order, read_listing
from lastgood.drivers.postgresql.migrate import Migrator
from lastgood.drivers.postgresql.scratch import scratch
from lastgood.ports.drivers import MigrationScript, Rehearsal


@dataclass(frozen=True)
class State:
    """Schema and rows of the copy; ``rows`` over ``columns``, those of the start where they still are."""

    listing: Listing
    columns: Mapping[str, Mapping[str, str]]
    rows: Mapping[str, contents.Content]

    def same_as(self, other: State) -> bool:
        return self.listing == other.listing and self.rows == other.rows


def rehearse(
    server: Server,
    dump: Path,
    binaries: Binaries,
    pending: Sequence[MigrationScript],
    standing: Sequence[MigrationScript],
) -> Rehearsal:
    """Source of ``Migrates.rehearse``: each migration is deployed, then each reverted, newest first.

    Raises Rejected when a script fails, or when a revert changes nothing although its deploy did.
    """
    with scratch(server, dump, binaries) as copy:
        migrator = Migrator(copy)
        speaking = _speaking(migrator, standing)
        before = _look(copy, None)
        states = [before]
        deploy_seconds: dict[str, float] = {}
        revert_seconds: dict[str, float] = {}
        for migration in pending:
            deploy_seconds[migration.name] = _timed(migrator, migration, deploy=True)
            states.append(_look(copy, before))
        complaint = migrator.verify(speaking)
        present = states[-1]
        for migration, wanted, deployed in reversed(list(zip(pending, states[:-1], states[1:], strict=True))):
            revert_seconds[migration.name] = _timed(migrator, migration, deploy=False)
            after = _look(copy, before)
            if after.same_as(present) and not deployed.same_as(wanted):
                raise _useless(server, migration, difference(wanted.listing, after.listing))
            present = after
        present = replace(
            present, listing=in_order(before.listing, [s.listing for s in states], present.listing)
        )
        return Rehearsal(
            fingerprint_before=fingerprint(before.listing),
            fingerprint_after=fingerprint(present.listing),
            old_runs_on_new=not complaint,
            deploy_seconds=deploy_seconds,
            revert_seconds=revert_seconds,
            difference=_difference(before, states[-1], present),
        )


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


def _difference(before: State, deployed: State, after: State) -> str:
    """What the way back left: of the schema anything, of the rows those the migration had left alone."""
    lines = [difference(before.listing, after.listing)]
    for name, rows in sorted(before.rows.items()):
        now = after.rows.get(name)
        if deployed.rows.get(name) == rows and now is not None and now != rows:
            table = name.removeprefix("public.")
            lines.append(f"table {table} has other rows: it had {rows.rows}, and has {now.rows}")
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
