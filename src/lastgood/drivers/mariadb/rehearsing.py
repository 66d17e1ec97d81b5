"""Where a rehearsal gets its copy from: a snapshot, the live database, or a sample of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.mariadb import contents
from lastgood.drivers.mariadb.connection import Server
from lastgood.drivers.mariadb.filling import SAMPLE_ROWS, copy_sample, copy_whole, sample_size
from lastgood.drivers.mariadb.fingerprint import read_listing
from lastgood.drivers.mariadb.rehearse import try_on
from lastgood.drivers.mariadb.scratch import beside, refuse_programs_of, refuse_programs_outside, scratch
from lastgood.drivers.mariadb.snapshot import Snapshotter
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.sql.listing import Listing


@dataclass(frozen=True)
class Rehearser:
    """Source of ``RehearsesWrites`` for the database of ``server``."""

    server: Server
    snapshots: Snapshotter

    def sample_rows(self) -> int:
        """A copy of a database larger than the setting ``rehearse_whole`` is a sample."""
        with self.server.session() as connection:
            size = contents.size(connection)
        return SAMPLE_ROWS if size > self.server.settings.rehearse_whole << 20 else 0

    def rehearse(
        self,
        source: Snapshot | None,
        pending: Sequence[MigrationScript],
        standing: Sequence[MigrationScript],
        journeys: Journeys,
    ) -> Rehearsal:
        listing = self._listing(source)
        refuse_programs_of(self.server.database, listing, self.server)
        if journeys != Journeys():
            refuse_programs_outside(listing, self.server)
        with self._copy(source) as copy:
            return try_on(copy, pending, standing, journeys)

    def _listing(self, source: Snapshot | None) -> Listing:
        if source is not None:
            return self.snapshots.cut_of(source).listing
        with self.server.session() as connection:
            return read_listing(connection)

    @contextmanager
    def _copy(self, source: Snapshot | None) -> Iterator[Server]:
        tools = self.snapshots.tools()
        if source is not None:
            with scratch(self.server, self.snapshots.dump_of(source), tools) as copy:
                yield copy
            return
        fill, size = (copy_sample, sample_size) if self.sample_rows() else (copy_whole, None)
        with beside(self.server, lambda made: fill(self.server, made, tools), size) as copy:
            yield copy
