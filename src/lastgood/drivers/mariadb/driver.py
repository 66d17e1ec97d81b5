"""MariaDB as a target: Migrates, RehearsesWrites, Reviews, UndoesRows, Classifies, Snapshots, Captures,
Restores, BundlesDatabases, KeepsAside, HasConnections, EndsIdle, Measures, Observes, Cautions and
GivesEvidence.
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
from lastgood.domain.salvage import Salvage, Swapped, WritesSince
from lastgood.domain.unit import UnitId
from lastgood.drivers.mariadb import contents, evidence, revisions, undoing, versions
from lastgood.drivers.mariadb.bundle import Bundler
from lastgood.drivers.mariadb.capacity import free_connections
from lastgood.drivers.mariadb.capture import Capturer
from lastgood.drivers.mariadb.connection import Server, one
from lastgood.drivers.mariadb.expiring import Keeping
from lastgood.drivers.mariadb.fingerprint import read_listing
from lastgood.drivers.mariadb.migrate import Migrator
from lastgood.drivers.mariadb.rehearsing import Rehearser
from lastgood.drivers.mariadb.restore import Restorer
from lastgood.drivers.mariadb.settings import MariadbSettings
from lastgood.drivers.mariadb.signal import SignalReader
from lastgood.drivers.mariadb.snapshot import Snapshotter
from lastgood.ports.bundles import DatabasePart
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Classification, MigrationScript, Reading, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.ports.reviewing import Review
from lastgood.ports.undoing import Undone
from lastgood.sql.keeping import directory_for
from lastgood.sql.listing import fingerprint


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> object:
    """The driver of one database; connects to nothing yet. Raises InvalidInput."""
    read = MariadbSettings.read(settings)
    return MariadbDriver(Server(read, tools.vault, read.database), tools)


def review(migrations: Sequence[MigrationScript]) -> Sequence[Review]:
    """What ``lint`` asks, which has no settings to build a driver from."""
    from lastgood.drivers.mariadb import review as reading

    return reading.review(migrations)


class MariadbDriver:
    """Every ability in one place; each is done by the module of its name."""

    def __init__(self, server: Server, tools: DriverTools) -> None:
        self._server = server
        self._migrator = Migrator(server)
        self._snapshots = Snapshotter(server, directory_for(server.settings.resident, tools.directory))
        self._captures = Capturer(server, self._snapshots, tools.directory / "captures")
        self._restores = Restorer(server, self._snapshots, self._captures)
        self._rehearser = Rehearser(server, self._snapshots)
        self._signals = SignalReader(server)

    def observe(self) -> Observation:
        """The schema's fingerprint, with what people want to know beside it."""
        with self._server.reading() as connection:
            sessions = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE()"
            facts = {
                "migrations": [r.name for r in revisions.read(connection)],
                "server_version": str(one(connection, "SELECT VERSION()")),
                "bytes": contents.size(connection),
                "sessions": int(one(connection, sessions)),
            }
            at = one(connection, "SELECT UTC_TIMESTAMP(6)")
            return Observation(fingerprint(read_listing(connection)), at.replace(tzinfo=UTC), facts)

    def applied(self) -> tuple[tuple[str, str], ...]:
        return tuple((r.name, r.digest) for r in self._migrator.applied())

    def fingerprint(self) -> str:
        with self._server.session() as connection:
            return fingerprint(read_listing(connection))

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        return self._migrator.deploy(migration, key)

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        return self._migrator.revert(migration, key)

    def sessions_ended(self) -> Sequence[str]:
        return self._server.ended.take()

    def undo_obstacle(self, migration: MigrationScript) -> Message | None:
        return self._migrator.undo_obstacle(migration)

    def undone(self, migration: MigrationScript, key: str) -> Undone:
        with self._server.session() as connection:
            return undoing.report(connection, migration.name, key)

    def kept_aside(self, before: datetime) -> Sequence[Aside]:
        return Keeping(self._server).found(before)

    def drop_aside(self, records: Sequence[Aside]) -> None:
        Keeping(self._server).drop(records)

    def caution(self) -> Message | None:
        return versions.caution(self._server)

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

    def prepare_copy(self, snapshot: Snapshot, key: str) -> str:
        return self._restores.prepare(snapshot, key)

    def carry_over(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Salvage:
        return self._restores.carry_over(snapshot, key, keep)

    def swap(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Swapped:
        return self._restores.swap(snapshot, key, keep)

    def abandon(self, key: str) -> bool:
        return self._restores.abandon(key)

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
        from lastgood.drivers.mariadb.classify import classify

        return classify(migration)

    def review(self, migrations: Sequence[MigrationScript]) -> Sequence[Review]:
        return review(migrations)

    def snapshot(self, key: str) -> Snapshot:
        return self._snapshots.snapshot(key)

    def prove(self, snapshot: Snapshot) -> Snapshot:
        return self._snapshots.prove(snapshot)

    def discard(self, snapshot: Snapshot) -> None:
        self._snapshots.discard(snapshot)

    def snapshot_migrations(self, snapshot: Snapshot) -> tuple[str, ...]:
        return self._bundler().migrations(snapshot)

    def bundle_database(
        self, snapshot: Snapshot, forward: Sequence[MigrationScript], back: Sequence[MigrationScript]
    ) -> DatabasePart:
        return self._bundler().part(snapshot, forward, back)

    def _bundler(self) -> Bundler:
        return Bundler(self._server, self._snapshots)

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
