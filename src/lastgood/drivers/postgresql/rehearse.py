"""A migration tried out on a copy of the database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lastgood.drivers.postgresql import contents
from lastgood.drivers.postgresql.additions import additive
from lastgood.drivers.postgresql.connection import Server
from lastgood.drivers.postgresql.fingerprint import in_order, read_listing
from lastgood.drivers.postgresql.journeys import Writer
from lastgood.drivers.postgresql.migrate import Migrator
from lastgood.drivers.postgresql.recording import wanted
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.sql.rehearsal import Content, Rehearser, State
from lastgood.sql.trial import Trial


def try_on(
    copy: Server,
    pending: Sequence[MigrationScript],
    standing: Sequence[MigrationScript],
    journeys: Journeys,
) -> Rehearsal:
    """Raises as ``Trial.run`` does."""
    look, address = partial(_look, copy), copy.spot.address
    rehearser = Rehearser(Migrator(copy), look, address, "public.", undoes=wanted)
    return Trial(rehearser, Writer(copy), additive, pending, standing, journeys, in_order).run()


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
