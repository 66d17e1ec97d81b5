"""A database file copied page by page while others use it, by the library's own backup.

In WAL mode a view of one moment stops nobody. With a rollback journal it would stop every writer, so there
the copy is made in short steps; one that a write came into begins anew, and only after some of those writers
wait.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.drivers.sqlite.connection import Connection, Store, begin_reading, is_wal
from lastgood.drivers.sqlite.locks import PAUSE, eagerly, patiently

TRIES = 5
"""How often a copy begins anew because somebody wrote, before writers have to wait for it."""
LONGEST = 5.0
"""Seconds for which writers wait at most, as long as programs commonly wait for a lock."""
PAGES = 1024
"""Copied in one step."""

Progress = Callable[[int, int, int], None]


class Moved(Exception):
    """Somebody wrote too often."""


def save(store: Store, path: Path) -> None:
    """Copy the database to ``path``, a new file, as it is at one moment. Raises DriverError."""
    with store.session() as source:
        if patiently(store, lambda: eagerly(store, source, lambda: is_wal(source))):
            begin_reading(source)
            whole(source, path)
            return
        try:
            patiently(store, lambda: _in_steps(store, source, path))
        except Moved:
            patiently(store, lambda: _while_they_wait(store, source, path))


def whole(source: Connection, path: Path, progress: Progress | None = None) -> None:
    """What ``source`` sees to the new file ``path``, durably; readable by us alone. Raises sqlite3.Error."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    target = sqlite3.connect(path, isolation_level=None)
    try:
        # It is nobody's database yet: only when it is whole does it count.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target, pages=PAGES, progress=progress or unless_locked, sleep=PAUSE)
        # Without WAL it is one file.
        target.execute("PRAGMA journal_mode = DELETE")
    finally:
        target.close()
    sync(path)


def sync(path: Path) -> None:
    """A file that no session of ours has open, and its folder."""
    for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(place, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """A database file and what the library keeps beside it."""
    for suffix in ("-journal", "-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class Locked(sqlite3.OperationalError):
    """The library itself would wait for ever."""

    sqlite_errorcode = sqlite3.SQLITE_BUSY


def unless_locked(status: int, remaining: int, total: int) -> None:
    """Progress that raises Locked: the library itself would wait for ever."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise Locked("database is locked")


def _in_steps(store: Store, source: Connection, path: Path) -> None:
    """Raises Moved after too many writes: the library then begins anew, so that more remains than before."""
    before, again = 0, 0
    since: float | None = None

    def look(status: int, remaining: int, total: int) -> None:
        nonlocal before, again, since
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            since = since or time.monotonic()
            if time.monotonic() - since > store.settings.lock_timeout:
                unless_locked(status, remaining, total)
            return
        since = None
        again += bool(before) and remaining >= before
        before = remaining
        if again > TRIES:
            raise Moved

    source.execute("PRAGMA busy_timeout = 0")
    whole(source, path, look)


def _while_they_wait(store: Store, source: Connection, path: Path) -> None:
    eagerly(store, source, lambda: begin_reading(source))
    deadline = time.monotonic() + LONGEST

    def look(status: int, remaining: int, total: int) -> None:
        unless_locked(status, remaining, total)
        if remaining and time.monotonic() > deadline:
            raise Rejected(
                N_("a copy of {address} takes longer than the {seconds} seconds for which writers may wait"),
                todo=N_("Set the database to WAL mode (PRAGMA journal_mode = WAL), where nobody waits."),
                where=store.spot.address,
                address=store.spot.address,
                seconds=LONGEST,
            )

    try:
        whole(source, path, look)
    finally:
        source.execute("ROLLBACK")
