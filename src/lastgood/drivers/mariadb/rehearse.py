"""A migration tried out on a copy of the database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lastgood.drivers.mariadb import contents
from lastgood.drivers.mariadb.binaries import Binaries
from lastgood.drivers.mariadb.connection import Server
from lastgood.drivers.mariadb.fingerprint import read_listing
from lastgood.drivers.mariadb.migrate import Migrator
from lastgood.drivers.mariadb.scratch import scratch
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.sql.rehearsal import Content, Rehearser, State
from lastgood.sql.sealing import Dump


def rehearse(
    server: Server,
    dump: Dump,
    binaries: Binaries,
    pending: Sequence[MigrationScript],
    standing: Sequence[MigrationScript],
) -> Rehearsal:
    """Source of ``Migrates.rehearse``. Raises as ``Rehearser.rehearse`` does."""
    with scratch(server, dump, binaries) as copy:
        return Rehearser(Migrator(copy), partial(_look, copy), server.spot.address).rehearse(
            pending, standing
        )


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
