"""SQLite as a target: Migrates, Classifies, Reviews, Snapshots, Captures, Restores, RehearsesWrites,
KeepsAside, Measures, Observes and GivesEvidence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.domain.criterion import Signal
from lastgood.domain.expiry import Aside
from lastgood.domain.message import Message
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Salvage, Swapped, WritesSince
from lastgood.domain.unit import UnitId
from lastgood.drivers.sqlite import copying, evidence, revisions
from lastgood.drivers.sqlite.capture import Capturer
from lastgood.drivers.sqlite.connection import Store, is_wal, size
from lastgood.drivers.sqlite.expiring import Keeping
from lastgood.drivers.sqlite.fingerprint import read_listing
from lastgood.drivers.sqlite.migrate import Migrator
from lastgood.drivers.sqlite.own import Recorder
from lastgood.drivers.sqlite.rehearse import try_on
from lastgood.drivers.sqlite.restore import Restorer
from lastgood.drivers.sqlite.scratch import scratch
from lastgood.drivers.sqlite.settings import SqliteSettings
from lastgood.drivers.sqlite.signal import SignalReader
from lastgood.drivers.sqlite.snapshot import Snapshotter
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Classification, MigrationScript, Reading, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.ports.reviewing import Review
from lastgood.sql.keeping import directory_for
from lastgood.sql.listing import fingerprint


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> object:
    """The driver of one database file; opens nothing yet. Raises InvalidInput."""
    read = SqliteSettings.read(settings)
    return SqliteDriver(Store(read, read.path), tools)


def rewound(settings: Mapping[str, Any]) -> Sequence[Path]:
    """Source of ``Rewinds.rewound``: a restore writes the file anew, from within."""
    return [SqliteSettings.read(settings).path]


def review(migrations: Sequence[MigrationScript]) -> Sequence[Review]:
    """Source of ``Reviews.review``; for ``lint``, which has no settings."""
    from lastgood.drivers.sqlite.classify import review

    return review(migrations)


class SqliteDriver:
    """Every ability in one place; each is done by the module of its name."""

    def __init__(self, store: Store, tools: DriverTools) -> None:
        self._store = store
        resident = store.settings.resident
        # Copies in clear never leave the declared place, also while they are used.
        self._scratch = tools.directory / "scratch" if resident is None else resident / "lastgood-scratch"
        self._migrator = Migrator(store, Recorder(store, self._scratch))
        self._snapshots = Snapshotter(
            store,
            directory_for(resident, tools.directory),
            tools.directory / "locks",
            self._scratch,
            tools.vault,
        )
        self._captures = Capturer(store, self._snapshots, self._scratch)
        self._restores = Restorer(store, self._snapshots, self._captures)
        self._signals = SignalReader(store)

    def observe(self) -> Observation:
        """The schema's fingerprint, with what people want to know beside it."""
        with self._store.reading() as connection:
            facts = {
                "migrations": [r.name for r in revisions.read(connection)],
                "bytes": size(connection),
                "wal": is_wal(connection),
            }
            return Observation(fingerprint(read_listing(connection)), datetime.now(UTC), facts)

    def applied(self) -> tuple[tuple[str, str], ...]:
        return tuple((r.name, r.digest) for r in self._migrator.applied())

    def fingerprint(self) -> str:
        with self._store.reading() as connection:
            return fingerprint(read_listing(connection))

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        return self._migrator.deploy(migration, key)

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        return self._migrator.revert(migration, key)

    def kept_aside(self, before: datetime) -> Sequence[Aside]:
        return Keeping(self._store).found(before)

    def drop_aside(self, records: Sequence[Aside]) -> None:
        Keeping(self._store).drop(records)

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
        """A copy of a file is always whole: there is no faster one."""
        return 0

    def rehearse_writes(
        self,
        source: Snapshot | None,
        pending: Sequence[MigrationScript],
        standing: Sequence[MigrationScript],
        journeys: Journeys,
    ) -> Rehearsal:
        with self._copy(source) as copy:
            return try_on(copy, pending, standing, journeys)

    def classify(self, migration: MigrationScript) -> Classification:
        # A driver that only answers signals does without the parser.
        from lastgood.drivers.sqlite.classify import classify

        return classify(migration)

    def review(self, migrations: Sequence[MigrationScript]) -> Sequence[Review]:
        return review(migrations)

    def snapshot(self, key: str) -> Snapshot:
        return self._snapshots.snapshot(key)

    def prove(self, snapshot: Snapshot) -> Snapshot:
        return self._snapshots.prove(snapshot)

    def discard(self, snapshot: Snapshot) -> None:
        self._snapshots.discard(snapshot)

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        return self._signals.begin(signal)

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        return self._signals.read(signal, cursor)

    def evidence(self) -> Sequence[EvidenceItem]:
        return evidence.collect(self._store)

    @contextlib.contextmanager
    def _copy(self, source: Snapshot | None) -> Iterator[Store]:
        """For a rehearsal: of a snapshot, or of the live database as it is now."""
        with self._snapshots.files(), scratch(self._scratch) as folder:
            path = folder / "copy.db"
            if source is None:
                self._snapshots.refuse_without_room(folder)
                copying.save(self._store, path)
            else:
                with self._snapshots.opened(source) as taken, taken.session(only_read=True) as connection:
                    copying.whole(connection, path)
            yield self._store.at(path)
