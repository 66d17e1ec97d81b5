"""Opening the state database, and its units of work."""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from sqlalchemy import Connection, text

from lastgood.domain.plan import Plan
from lastgood.domain.release import Release
from lastgood.ports.clock import Clock
from lastgood.store import faults
from lastgood.store.audit import SqlAudit
from lastgood.store.captures import SqlCaptures
from lastgood.store.changes import SqlChanges
from lastgood.store.engines import Connect, connector, engine
from lastgood.store.files import file_error, make_directory, sync_directory, write_durably
from lastgood.store.incidents import SqlIncidents
from lastgood.store.journal import Kinds, SqlJournal
from lastgood.store.locks import SqlLocks
from lastgood.store.plans import SqlPlans
from lastgood.store.quarantines import SqlQuarantines
from lastgood.store.rehearsals import SqlRehearsals
from lastgood.store.releases import SqlReleases
from lastgood.store.restore_points import SqlRestorePoints
from lastgood.store.revision import HEAD, REVISIONS
from lastgood.store.rollouts import SqlRollouts
from lastgood.store.samples import SqlSamples
from lastgood.store.secrets import SqlSecrets
from lastgood.store.wishes import SqlWishes

NAME = "lastgood.db"
MARKER = "lastgood.db.created"
"""Says that there was a database here, so that its loss is noticed and not papered over."""


class SqlUnitOfWork:
    """One transaction's repositories. Implements ``ports.persistence.UnitOfWork``."""

    def __init__(self, connection: Connection, kinds: Kinds) -> None:
        self._connection = connection
        self._kinds = kinds

    @cached_property
    def releases(self) -> SqlReleases:
        return SqlReleases(self._connection)

    @cached_property
    def rollouts(self) -> SqlRollouts:
        return SqlRollouts(self._connection)

    @cached_property
    def changes(self) -> SqlChanges:
        return SqlChanges(self._connection)

    @cached_property
    def journal(self) -> SqlJournal:
        return SqlJournal(self._connection, self._kinds)

    @cached_property
    def points(self) -> SqlRestorePoints:
        return SqlRestorePoints(self._connection)

    @cached_property
    def captures(self) -> SqlCaptures:
        return SqlCaptures(self._connection)

    @cached_property
    def rehearsals(self) -> SqlRehearsals:
        return SqlRehearsals(self._connection)

    @cached_property
    def locks(self) -> SqlLocks:
        return SqlLocks(self._connection)

    @cached_property
    def incidents(self) -> SqlIncidents:
        return SqlIncidents(self._connection)

    @cached_property
    def quarantine(self) -> SqlQuarantines:
        return SqlQuarantines(self._connection)

    @cached_property
    def secrets(self) -> SqlSecrets:
        return SqlSecrets(self._connection)

    @cached_property
    def wishes(self) -> SqlWishes:
        return SqlWishes(self._connection)

    @cached_property
    def samples(self) -> SqlSamples:
        return SqlSamples(self._connection)

    @cached_property
    def audit(self) -> SqlAudit:
        return SqlAudit(self._connection)

    @cached_property
    def plans(self) -> SqlPlans:
        return SqlPlans(self._connection)


class SqlStore:
    """The state database, for any number of threads. Implements ``ports.persistence.Store``."""

    def __init__(self, file: Path, clock: Clock, *, mode: str, wait: float) -> None:
        self.file = file
        self._clock = clock
        self._writes = mode == "query"
        self._connect: Connect = connector(file, mode, wait)
        self._reader = engine(self._connect, "BEGIN")
        self._writer = engine(connector(file, "rw", wait), "BEGIN IMMEDIATE")
        self._kinds: Kinds = {}
        self._here = threading.local()
        self._watching = threading.Lock()
        self._watch: sqlite3.Connection | None = None

    @contextmanager
    def write(self) -> Iterator[SqlUnitOfWork]:
        """One immediate transaction: durable when the block is left, nothing of it after an exception.

        Raises Conflict when another writer does not end in time, DriverError when the file is
        read-only, damaged or the disk full. Opening one inside another is a mistake of the caller.
        """
        if not self._writes:
            raise faults.read_only(self.file)
        if getattr(self._here, "writing", False):
            raise RuntimeError("write() inside write() of the same thread would wait for itself")
        self._here.writing = True
        try:
            with faults.reported(self.file), self._writer.begin() as connection:
                yield SqlUnitOfWork(connection, self._kinds)
        finally:
            self._here.writing = False

    @contextmanager
    def read(self) -> Iterator[SqlUnitOfWork]:
        """One consistent view, never waiting for a writer. Writing in it raises DriverError."""
        with faults.reported(self.file), self._reader.begin() as connection:
            yield SqlUnitOfWork(connection, self._kinds)

    def put_plan(self, plan: Plan, release: Release, base: Release | None) -> None:
        with self.write() as work:
            work.plans.put(plan, release, base, self._clock.now())

    def plan(self, digest: str) -> tuple[Plan, Release, Release | None]:
        with self.read() as work:
            return work.plans.get(digest)

    def changed(self) -> int:
        """A number that differs from the last one when any process or thread has committed since.

        It says nothing by itself and is not comparable between processes. Costs microseconds.
        """
        with faults.reported(self.file), self._watching:
            if self._watch is None:
                self._watch = self._connect()
            # The connection never writes, so every commit, our own too, is somebody else's to it.
            return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()
        with self._watching:
            if self._watch is not None:
                self._watch.close()
                self._watch = None

    def revision(self) -> str:
        """The schema revision of the file. Raises InvalidInput when the database is not ours."""
        with faults.reported(self.file), self._reader.begin() as connection:
            return _revision(connection, self.file)

    def upgrade(self) -> None:
        """Bring an older schema to head; several processes may try at once, one does it."""
        from lastgood.store import migrate  # Alembic takes longer to import than a command to run

        with faults.reported(self.file), self._writer.begin() as connection:
            if _revision(connection, self.file) != HEAD:
                migrate.upgrade(connection)


def open_store(state_dir: Path, clock: Clock, *, read_only: bool = False, wait: float = 30.0) -> SqlStore:
    """The store in ``state_dir`` (made, 0700, with its database, 0600, when there was none).

    ``wait`` is how many seconds a writer waits for another. With ``read_only`` nothing is made,
    migrated or written. Raises InvalidInput (no state, not ours), Conflict (schema newer than this
    code, or older and ``read_only``), DriverError (damaged, gone, not permitted, disk full).
    """
    file = state_dir / NAME
    if not read_only:
        _prepare(file, clock, wait)
    _look(file)
    store = SqlStore(file, clock, mode=_mode(file, read_only), wait=wait)
    try:
        found = store.revision()
        if found not in REVISIONS:
            raise faults.newer(file, found)
        if found != HEAD:
            if read_only:
                raise faults.older(file, found)
            store.upgrade()
    except BaseException:
        store.close()
        raise
    return store


def _look(file: Path) -> None:
    """The file is there and not empty; a directory that may not be entered is told as such."""
    try:
        if not file.exists():
            raise faults.vanished(file) if file.with_name(MARKER).exists() else faults.absent(file)
        if file.stat().st_size == 0:
            raise faults.damaged(file, "the file is empty")
    except OSError as error:
        raise file_error(error, file) from error


def _revision(connection: Connection, file: Path) -> str:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    if connection.scalar(text(query)) is None:
        raise faults.not_ours(file)
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found is None:
        raise faults.damaged(file, "no schema revision")
    return str(found)


def _mode(file: Path, read_only: bool) -> str:
    """On a file system that nobody can write, SQLite reads a WAL database only when told so."""
    if not read_only:
        return "query"
    log = file.with_name(file.name + "-wal")
    still = os.statvfs(file.parent).f_flag & os.ST_RDONLY and not (log.exists() and log.stat().st_size)
    return "immutable" if still else "ro"


def _prepare(file: Path, clock: Clock, wait: float) -> None:
    marker = file.with_name(MARKER)
    try:
        make_directory(file.parent)
        if not file.exists():
            if marker.exists():
                raise faults.vanished(file)
            _create(file, clock, wait)
        if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK):
            raise faults.read_only(file)
        if not marker.exists():
            write_durably(marker, b"lastgood keeps its state here\n")
    except OSError as error:
        raise file_error(error, file) from error


def _create(file: Path, clock: Clock, wait: float) -> None:
    """Made whole under another name, so that no process ever sees half a database."""
    from lastgood.store import migrate  # only for the first open

    temporary = file.with_name(f".{file.name}.{secrets.token_hex(6)}.new")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    fresh = engine(connector(temporary, "rw", wait), "BEGIN IMMEDIATE")
    try:
        with faults.reported(file), fresh.begin() as connection:
            migrate.upgrade(connection)
        fresh.dispose()
        with suppress(FileExistsError):  # another process was first, and its database is as good
            os.link(temporary, file)
        sync_directory(file.parent)
    finally:
        fresh.dispose()
        for left in ("", "-wal", "-shm", "-journal"):
            temporary.with_name(temporary.name + left).unlink(missing_ok=True)
