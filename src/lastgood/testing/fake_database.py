"""A database without a server: the abilities of a database driver on one SQLite file.

Real transactions, real SQL of the common kind, real files; what it lacks is other sessions, roles and
a network, so ``fail_next`` makes their errors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.digest import digest, plain
from lastgood.domain.errors import Cause, Conflict, DriverError, Rejected
from lastgood.domain.message import N_, Message
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.plan import Reversibility
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Neighbours
from lastgood.domain.unit import UnitId
from lastgood.domain.warm_copy import CopyRoom
from lastgood.drivers.postgresql.scan import runnable
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Classification, MigrationScript, Reading, Rehearsal
from lastgood.ports.rehearsing import Journeys
from lastgood.ports.reviewing import Review
from lastgood.testing.fake_rehearsal import rehearse
from lastgood.testing.fake_restoring import FakeRestoring, muted
from lastgood.testing.fake_sql import OWN, listing, revisions, run_script


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> FakeDatabase:
    """Like an entry point; ``settings["path"]`` is the file, so that several units can share it."""
    path = Path(str(settings.get("path") or tools.directory / f"{unit.slug}.sqlite"))
    return FakeDatabase(path, tools.directory / "snapshots", str(settings.get("resource", path.stem)))


def rewound(settings: Mapping[str, Any]) -> Sequence[Path]:
    """Rewinds: a restore puts the file back."""
    return [Path(str(settings["path"]))] if "path" in settings else []


class FakeDatabase(FakeRestoring):
    """Migrates, RehearsesWrites, Classifies, Reviews, Snapshots, Captures, Restores, KeepsWarm,
    HasNeighbours, Measures, Observes and GivesEvidence.

    ``obstacle``: why it can't capture; ``unknown``: why what it captured is not all; ``room``: of a copy that
    stands by; ``beside``: who else has to do with it; ``sampled``: what it says of its copies;
    ``rehearsals`` counts them.
    """

    def __init__(self, path: Path, directory: Path, resource: str = "fake") -> None:
        self.path = path
        self.directory = directory
        self.resource = resource
        self.obstacle: Message | None = None
        self.unknown: tuple[Message, ...] = ()
        self.room = CopyRoom(size=1 << 20, free=1 << 40)
        self.beside = Neighbours()
        self.undone: tuple[Message, ...] = ()
        self.sampled = 0
        self.rehearsals = 0
        self._failures: dict[str, list[DriverError]] = {}

    def fail_next(self, method: str, error: DriverError) -> None:
        """Let the next call of ``method`` raise ``error`` before it does anything."""
        self._failures.setdefault(method, []).append(error)

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """SQL on the file itself."""
        with self.connect() as connection:
            return connection.execute(query).fetchall()

    def observe(self) -> Observation:
        names = [name for name, _ in self.applied()]
        return Observation(self.fingerprint(), datetime.now(UTC), {"migrations": names})

    def applied(self) -> tuple[tuple[str, str], ...]:
        self._fail("applied")
        with self.connect() as connection:
            return revisions(connection)

    def fingerprint(self) -> str:
        with self.connect() as connection:
            return digest(sorted([*k, v] for k, v in listing(connection).items()))

    def deploy(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        self._fail("deploy")
        name = migration.name
        script = runnable(migration.deploy, f"deploy.sql of {name}")
        verify = runnable(migration.verify, f"verify.sql of {name}")

        def work(connection: sqlite3.Connection) -> None:
            if self._there(connection, migration):
                return
            run_script(connection, f"deploy.sql of {name}", [(s.text, s.line) for s in script])
            connection.execute("SAVEPOINT verify")
            run_script(connection, f"verify.sql of {name}", [(s.text, s.line) for s in verify])
            connection.execute("ROLLBACK TO verify")
            connection.execute(
                f"INSERT INTO {OWN} (name, digest, key) VALUES (?, ?, ?)", (name, migration.digest, key)
            )

        self._in_transaction(work)
        return {}

    def revert(self, migration: MigrationScript, key: str) -> Mapping[str, int]:
        self._fail("revert")
        name = migration.name
        script = runnable(migration.revert, f"revert.sql of {name}")

        def work(connection: sqlite3.Connection) -> None:
            if not self._there(connection, migration):
                return
            newer = [n for n, _ in revisions(connection)]
            newer = newer[newer.index(name) + 1 :]
            if newer:
                raise Conflict(N_("{newer} came after {name}"), newer=", ".join(newer), name=name)
            if not script and runnable(migration.deploy, f"deploy.sql of {name}"):
                raise Rejected(N_("revert.sql of {name} is empty"), cause=Cause.SCRIPT_ERROR, name=name)
            run_script(connection, f"revert.sql of {name}", [(s.text, s.line) for s in script])
            connection.execute(f"DELETE FROM {OWN} WHERE name = ?", (name,))

        self._in_transaction(work)
        return {}

    def rehearse(
        self, snapshot: Snapshot, pending: Sequence[MigrationScript], standing: Sequence[MigrationScript]
    ) -> Rehearsal:
        return self._rehearse(snapshot, pending, standing, Journeys())

    def sample_rows(self) -> int:
        return self.sampled

    def rehearse_writes(
        self,
        source: Snapshot | None,
        pending: Sequence[MigrationScript],
        standing: Sequence[MigrationScript],
        journeys: Journeys,
    ) -> Rehearsal:
        return self._rehearse(source, pending, standing, journeys)

    def _rehearse(
        self,
        source: Snapshot | None,
        pending: Sequence[MigrationScript],
        standing: Sequence[MigrationScript],
        journeys: Journeys,
    ) -> Rehearsal:
        self._fail("rehearse")
        self.rehearsals += 1
        with self._scratch(source) if source else self._live_copy() as copy:
            return rehearse(copy, pending, standing, journeys)

    def classify(self, migration: MigrationScript) -> Classification:
        from lastgood.drivers.postgresql.classify import classify

        seen = classify(migration)
        # Nothing here records rows.
        return replace(seen, reversibility=Reversibility.BY_SNAPSHOT) if seen.undoes_rows else seen

    def review(self, migrations: Sequence[MigrationScript]) -> Sequence[Review]:
        from lastgood.drivers.postgresql.review import review

        return review(migrations)

    def snapshot(self, key: str) -> Snapshot:
        self._fail("snapshot")
        name = f"fake-{hashlib.sha256(f'{self.resource} {key}'.encode()).hexdigest()[:12]}"
        if self._notes(name).is_file():
            return _load(self._notes(name))
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.directory / f"{name}.tmp"
        temporary.touch(mode=0o600)
        with self.connect() as source, contextlib.closing(sqlite3.connect(temporary)) as target:
            source.backup(target)
        content = temporary.read_bytes()
        snapshot = Snapshot(
            id=name, resource=self.resource, path=str(self._dump(name)),
            cut=hashlib.sha256(content).hexdigest(), fingerprint=self.fingerprint(),
            created_at=datetime.now(UTC), size=len(content), server_version=sqlite3.sqlite_version,
        )  # fmt: skip
        temporary.rename(self._dump(name))
        _keep(self._notes(name), snapshot)
        return snapshot

    def prove(self, snapshot: Snapshot) -> Snapshot:
        self._fail("prove")
        with self._scratch(snapshot) as copy:
            if copy.fingerprint() != snapshot.fingerprint:
                raise Rejected(N_("snapshot {name} does not load as it was"), name=snapshot.id)
        proven = replace(snapshot, proven_at=datetime.now(UTC))
        _keep(self._notes(snapshot.id), proven)
        return proven

    def discard(self, snapshot: Snapshot) -> None:
        self._notes(snapshot.id).unlink(missing_ok=True)
        self._dump(snapshot.id).unlink(missing_ok=True)

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        return {"since": datetime.now(UTC).isoformat()}

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        try:
            self._fail("read")
            with self.connect() as connection:
                row = connection.execute(str(signal.settings["query"]), dict(cursor)).fetchone()
        except (DriverError, sqlite3.Error) as error:
            return Reading(cursor, error=str(error))
        if signal.kind is SignalKind.GAUGE:
            return Reading(cursor, value=None if row is None or row[0] is None else float(row[0]))
        return Reading(cursor, good=int(row[0] or 0), total=int(row[1] or 0))

    def evidence(self) -> Sequence[EvidenceItem]:
        return [EvidenceItem("database-revisions.json", json.dumps(self.applied()).encode())]

    def _fail(self, method: str) -> None:
        if self._failures.get(method):
            raise self._failures[method].pop(0)

    @contextlib.contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """A session of its own, in autocommit mode."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.path, timeout=0.5, isolation_level=None)) as connection:
            yield connection

    def _in_transaction(self, work: Callable[[sqlite3.Connection], None]) -> None:
        with self.connect() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                raise Rejected(N_("{error}"), cause=Cause.TABLE_LOCK, error=str(error)) from None
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {OWN} (seq INTEGER PRIMARY KEY AUTOINCREMENT, "
                "name TEXT UNIQUE, digest TEXT, key TEXT)"
            )
            muted(connection, True)
            work(connection)
            muted(connection, False)
            connection.execute("COMMIT")

    def _there(self, connection: sqlite3.Connection, migration: MigrationScript) -> bool:
        there = dict(revisions(connection)).get(migration.name)
        if there is not None and there != migration.digest:
            raise Conflict(
                N_("{name} is deployed as {there}, not {wanted}"),
                name=migration.name, there=there, wanted=migration.digest,
            )  # fmt: skip
        return there is not None

    @contextlib.contextmanager
    def _scratch(self, snapshot: Snapshot) -> Iterator[FakeDatabase]:
        dump = self._dump(snapshot.id)
        if not dump.is_file() or hashlib.sha256(dump.read_bytes()).hexdigest() != snapshot.cut:
            raise Rejected(
                N_("snapshot {name} is missing or damaged"), cause=Cause.WRONG_PATH, name=snapshot.id
            )
        with self._beside() as path:
            shutil.copyfile(dump, path)
            yield FakeDatabase(path, self.directory)

    @contextlib.contextmanager
    def _live_copy(self) -> Iterator[FakeDatabase]:
        with self._beside() as path:
            with self.connect() as source, contextlib.closing(sqlite3.connect(path)) as target:
                source.backup(target)
            yield FakeDatabase(path, self.directory)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[Path]:
        path = self.path.with_name(f"scratch-{secrets.token_hex(4)}.sqlite")
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _dump(self, name: str) -> Path:
        return self.directory / f"{name}.dump"

    def _notes(self, name: str) -> Path:
        return self.directory / f"{name}.json"


def _keep(path: Path, snapshot: Snapshot) -> None:
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(plain(snapshot)))
    temporary.rename(path)


def _load(path: Path) -> Snapshot:
    kept = json.loads(path.read_text())
    for key in ("created_at", "proven_at"):
        kept[key] = datetime.fromisoformat(kept[key]) if kept[key] else None
    return Snapshot(**kept)
