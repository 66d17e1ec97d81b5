"""Where a rehearsal gets its copy from: a snapshot, the live database, or a sample of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lastgood.domain.restore_point import Snapshot
from lastgood.drivers.postgresql.connection import Server, one
from lastgood.drivers.postgresql.copying import SAMPLE_ROWS, copy_sample, copy_whole, sample_size
from lastgood.drivers.postgresql.rehearse import try_on
from lastgood.drivers.postgresql.scratch import beside, scratch
from lastgood.drivers.postgresql.snapshot import Snapshotter
from lastgood.ports.drivers import MigrationScript, Rehearsal
from lastgood.ports.rehearsing import Journeys


@dataclass(frozen=True)
class Rehearser:
    """Source of ``RehearsesWrites`` for the database of ``server``."""

    server: Server
    snapshots: Snapshotter

    def sample_rows(self) -> int:
        """A copy of a database larger than the setting ``rehearse_whole`` is a sample."""
        with self.server.reading() as connection:
            size = int(one(connection, "SELECT pg_database_size(current_database())"))
        return SAMPLE_ROWS if size > self.server.settings.rehearse_whole << 20 else 0

    def rehearse(
        self,
        source: Snapshot | None,
        pending: Sequence[MigrationScript],
        standing: Sequence[MigrationScript],
        journeys: Journeys,
    ) -> Rehearsal:
        with self._copy(source) as copy:
            return try_on(copy, pending, standing, journeys)

    @contextmanager
    def _copy(self, source: Snapshot | None) -> Iterator[Server]:
        tools = self.snapshots.tools()
        if source is not None:
            self.snapshots.cut_of(source)
            with scratch(self.server, self.snapshots.dump_of(source), tools) as copy:
                yield copy
            return
        fill, size = (copy_sample, sample_size) if self.sample_rows() else (copy_whole, None)
        with beside(self.server, lambda made: fill(self.server, made, tools), size) as copy:
            yield copy
