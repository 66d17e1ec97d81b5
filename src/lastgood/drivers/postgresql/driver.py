"""PostgreSQL as a target: Migrates, RehearsesWrites, Classifies, Reviews, UndoesRows, Snapshots, Captures,
Restores, KeepsWarm, HasNeighbours, BundlesDatabases, KeepsAside, HasConnections, EndsIdle, Measures, Observes
and GivesEvidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lastgood.domain.criterion import Signal
from lastgood.domain.expiry import Aside
from lastgood.domain.message import Message
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Neighbours, Salvage, Swapped, WritesSince
from lastgood.domain.unit import UnitId
from lastgood.domain.warm_copy import CopyRoom, WarmCopy
from lastgood.drivers.postgresql import evidence, revisions, undoing
from lastgood.drivers.postgresql.bundle import Bundler
from lastgood.drivers.postgresql.capacity import free_connections
from lastgood.drivers.postgresql.capture import Capturer
from lastgood.drivers.postgresql.connection import Server, one
from lastgood.drivers.postgresql.expiring import Keeping
from lastgood.drivers.postgresql.fingerprint import fingerprint, read_listing
from lastgood.drivers.postgresql.migrate import Migrator
from lastgood.drivers.postgresql.rehearsing import Rehearser
from lastgood.drivers.postgresql.restore import Restorer
from lastgood.drivers.postgresql.settings import PostgresqlSettings
from lastgood.drivers.postgresql.signal import SignalReader
from lastgood.drivers.postgresql.snapshot import Snapshotter
from lastgood.ports.bundles import DatabasePart
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Classification, MigrationScript, Reading, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.ports.reviewing import Review
from lastgood.ports.undoing import Undone
from lastgood.sql.keeping import directory_for


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> object:
    """The driver of one database; connects to nothing yet. Raises InvalidInput."""
    read = PostgresqlSettings.read(settings)
    return PostgresqlDriver(Server(read, tools.vault, read.database), tools)


def review(migrations: Sequence[MigrationScript]) -> Sequence[Review]:
    """What ``lint`` asks, which has no settings to build a driver from."""
    from lastgood.drivers.postgresql import review as reading

    return reading.review(migrations)


class PostgresqlDriver:
    """Every ability in one place; each is done by the module of its name."""

    def __init__(self, server: Server, tools: DriverTools) -> None:
        self._server = server
        self._migrator = Migrator(server)
        self._snapshots = Snapshotter(server, directory_for(server.settings.resident, tools.directory))
        self._captures = Capturer(server, self._snapshots)
        self._restores = Restorer(server, self._snapshots, self._captures)
        self._rehearser = Rehearser(server, self._snapshots)
        self._signals = SignalReader(server)

    def observe(self) -> Observation:
        """The schema's fingerprint, with what people want to know beside it."""
        with self._server.reading() as connection:
            facts = {
                "migrations": [r.name for r in revisions.read(connection)],
                "server_version": one(connection, "SELECT current_setting('server_version')"),
                "bytes": one(connection, "SELECT pg_database_size(current_database())"),
                "sessions": one(
                    connection, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                ),
            }
            at = one(connection, "SELECT clock_timestamp()")
            return Observation(fingerprint(read_listing(connection)), at.astimezone(UTC), facts)

    def applied(self) -> tuple[tuple[str, str], ...]:
        return tuple((r.name, r.digest) for r in self._migrator.applied())

    def fingerprint(self) -> str:
        with self._server.reading() as connection:
            return fingerprint(read_listing(connection))

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        return self._migrator.deploy(migration, key)

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        return self._migrator.revert(migration, key)

    def sessions_ended(self) -> Sequence[str]:
        return self._server.ended.take()

    def rehearse(
        self, snapshot: Snapshot, pending: Sequence[MigrationScript], standing: Sequence[MigrationScript]
    ) -> Rehearsal:
        return self.rehearse_writes(snapshot, pending, standing, Journeys())

    def sample_rows(self) -> int:
        return self._rehearser.sample_rows()

    def rehearse_writes(
        self,
        source: Snapshot | None,
        pending: Sequence[MigrationScript],
        standing: Sequence[MigrationScript],
        journeys: Journeys,
    ) -> Rehearsal:
        return self._rehearser.rehearse(source, pending, standing, journeys)

    def classify(self, migration: MigrationScript) -> Classification:
        # A driver that only answers signals does without the parser.
        from lastgood.drivers.postgresql.classify import classify

        return classify(migration)

    def review(self, migrations: Sequence[MigrationScript]) -> Sequence[Review]:
        return review(migrations)

    def undo_obstacle(self, migration: MigrationScript) -> Message | None:
        return self._migrator.undo_obstacle(migration)

    def undone(self, migration: MigrationScript, key: str) -> Undone:
        with self._server.reading() as connection:
            return undoing.report(connection, migration.name, key)

    def snapshot(self, key: str) -> Snapshot:
        return self._snapshots.snapshot(key)

    def prove(self, snapshot: Snapshot) -> Snapshot:
        return self._snapshots.prove(snapshot)

    def discard(self, snapshot: Snapshot) -> None:
        self._snapshots.discard(snapshot)

    def kept_aside(self, before: datetime) -> Sequence[Aside]:
        return Keeping(self._server).found(before)

    def drop_aside(self, records: Sequence[Aside]) -> None:
        Keeping(self._server).drop(records)

    def snapshot_migrations(self, snapshot: Snapshot) -> tuple[str, ...]:
        return self._bundler().migrations(snapshot)

    def bundle_database(
        self, snapshot: Snapshot, forward: Sequence[MigrationScript], back: Sequence[MigrationScript]
    ) -> DatabasePart:
        return self._bundler().part(snapshot, forward, back)

    def _bundler(self) -> Bundler:
        return Bundler(self._server, self._snapshots)

    def capture_obstacle(self) -> Message | None:
        return self._captures.obstacle()

    def capture(self, key: str) -> Snapshot:
        return self._captures.capture(key)

    def writes_since(self, snapshot: Snapshot, keep: Sequence[str]) -> WritesSince:
        return self._captures.writes_since(snapshot, keep)

    def refuse_lost(self, snapshot: Snapshot) -> None:
        self._captures.refuse_lost(snapshot)

    def end_capture(self, snapshot: Snapshot) -> None:
        self._captures.end(snapshot)

    def refuse_restore(self, snapshot: Snapshot, keep: Sequence[str]) -> None:
        self._restores.refuse(snapshot, keep)

    def neighbours(self, snapshot: Snapshot) -> Neighbours:
        return self._restores.neighbours()

    def prepare_copy(self, snapshot: Snapshot, key: str) -> str:
        return self._restores.prepare(snapshot, key)

    def carry_over(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Salvage:
        return self._restores.carry_over(snapshot, key, keep)

    def swap(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Swapped:
        return self._restores.swap(snapshot, key, keep)

    def abandon(self, key: str) -> bool:
        return self._restores.abandon(key)

    def copy_room(self) -> CopyRoom:
        return self._captures.warmer.room()

    def warm_copy(self, snapshot: Snapshot) -> WarmCopy:
        return self._captures.warm(snapshot)

    def standing_by(self, snapshot: Snapshot) -> WarmCopy | None:
        with self._server.session() as connection:
            return self._captures.warmer.look(connection, snapshot)

    def free_connections(self) -> int:
        return free_connections(self._server)

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        return self._signals.begin(signal)

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        return self._signals.read(signal, cursor)

    def evidence(self) -> Sequence[EvidenceItem]:
        return evidence.collect(self._server)

    def close(self) -> None:
        """Ends the session kept for signals."""
        self._signals.close()
