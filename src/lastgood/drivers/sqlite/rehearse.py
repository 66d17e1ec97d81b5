"""A migration tried out on a copy: there and back again, and everything as it was."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lastgood.drivers.sqlite import contents
from lastgood.drivers.sqlite.additions import additive
from lastgood.drivers.sqlite.connection import Store
from lastgood.drivers.sqlite.fingerprint import read_listing
from lastgood.drivers.sqlite.journeys import Writer
from lastgood.drivers.sqlite.migrate import Migrator
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.sql.rehearsal import Content, Rehearser, State
from lastgood.sql.trial import Trial


def try_on(
    copy: Store,
    pending: Sequence[MigrationScript],
    standing: Sequence[MigrationScript],
    journeys: Journeys,
) -> Rehearsal:
    """Raises as ``Trial.run`` does."""
    rehearser = Rehearser(Migrator(copy), partial(_look, copy), copy.spot.address)
    return Trial(rehearser, Writer(copy), additive, pending, standing, journeys).run()


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
