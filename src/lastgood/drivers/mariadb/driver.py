"""MariaDB as a target: Migrates, Classifies, Snapshots, HasConnections, Measures, Observes, GivesEvidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from lastgood.domain.message import Message
from lastgood.domain.observation import Observation
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Salvage, Swapped, WritesSince
from lastgood.domain.unit import UnitId
from lastgood.drivers.mariadb import revisions
from lastgood.drivers.mariadb.capture import Capturer
from lastgood.drivers.mariadb.connection import Server, one
from lastgood.drivers.mariadb.fingerprint import read_listing
from lastgood.drivers.mariadb.migrate import Migrator
from lastgood.drivers.mariadb.restore import Restorer
from lastgood.drivers.mariadb.settings import MariadbSettings
from lastgood.drivers.mariadb.snapshot import Snapshotter
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import MigrationScript
from lastgood.sql.listing import fingerprint


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> object:
    """The driver of one database; connects to nothing yet. Raises InvalidInput."""
    read = MariadbSettings.read(settings)
    return MariadbDriver(Server(read, tools.vault, read.database), tools)


class MariadbDriver:
    """Every ability in one place; each is done by the module of its name."""

    def __init__(self, server: Server, tools: DriverTools) -> None:
        self._server = server
        self._migrator = Migrator(server)
        self._snapshots = Snapshotter(server, tools.directory / "snapshots")
        self._captures = Capturer(server, self._snapshots, tools.directory / "captures")
        self._restores = Restorer(server, self._snapshots, self._captures)

    def observe(self) -> Observation:
        """The schema's fingerprint, with what people want to know beside it."""
        with self._server.reading() as connection:
            size = (
                "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES "
                "WHERE TABLE_SCHEMA = DATABASE()"
            )
            sessions = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE()"
            facts = {
                "migrations": [r.name for r in revisions.read(connection)],
                "server_version": str(one(connection, "SELECT VERSION()")),
                "bytes": int(one(connection, size)),
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
