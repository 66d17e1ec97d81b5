"""A migration tried out on a copy of the database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lastgood.drivers.postgresql import contents
from lastgood.drivers.postgresql.binaries import Binaries
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.fingerprint import read_listing
from lastgood.drivers.postgresql.migrate import Migrator
from lastgood.drivers.postgresql.scratch import scratch
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.sql.rehearsal import Content, Rehearser, State


def rehearse(
    server: Server,
    dump: Path,
    binaries: Binaries,
    pending: Sequence[MigrationScript],
    standing: Sequence[MigrationScript],
) -> Rehearsal:
    """Source of ``Migrates.rehearse``. Raises as ``Rehearser.rehearse`` does."""
    with scratch(server, dump, binaries) as copy:
        rehearser = Rehearser(Migrator(copy), partial(_look, copy), server.spot.address, usual="public.")
        return rehearser.rehearse(pending, standing)


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
