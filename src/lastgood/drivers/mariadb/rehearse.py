"""A migration tried out on a copy of the database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lastgood.drivers.mariadb import contents
from lastgood.drivers.mariadb.additions import additive
from lastgood.drivers.mariadb.connection import Server, one, rows
from lastgood.drivers.mariadb.fingerprint import read_listing
from lastgood.drivers.mariadb.journeys import Writer
from lastgood.drivers.mariadb.migrate import Migrator
from lastgood.drivers.mariadb.recording import wanted
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
    with copy.session() as connection:
        databases = {str(name) for (name,) in rows(connection, "SHOW DATABASES")}
        folds = bool(one(connection, "SELECT @@lower_case_table_names"))
    writer = Writer(copy, databases | {copy.settings.database}, folds)
    rehearser = Rehearser(Migrator(copy), partial(_look, copy), copy.spot.address, undoes=wanted)
    return Trial(rehearser, writer, additive, pending, standing, journeys).run()


def _look(copy: Server, start: State | None) -> State:
    """The present state; rows of a table are compared over the columns it had at the start."""
    with copy.reading(statement_timeout=0) as connection:
        columns = contents.tables(connection)
        rows: dict[str, Content] = {}
        for name, found in columns.items():
            wanted = start.columns.get(name, found) if start else found
            if all(found.get(column) == kind for column, kind in wanted.items()):
                rows[name] = contents.content(connection, name, list(wanted))
        return State(read_listing(connection), columns, rows)
