"""Waiting for the one lock that a database file has, and who holds it."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from lastgood.drivers.sqlite import failures
from lastgood.drivers.sqlite.connection import Connection, Store

T = TypeVar("T")

PAUSE = 0.001
"""Seconds between two looks at a lock."""
TABLE = Path("/proc/locks")
_FIELDS = 8
"""Of a line of it: number, kind, ADVISORY, READ or WRITE, pid, device and inode, first and last byte."""


def patiently(store: Store, act: Callable[[], T]) -> T:
    """What ``act`` returns; while somebody else is in its way, it is tried again until ``lock_deadline``.

    Each try waits no longer than ``lock_timeout``, and between two of them everybody else comes through.
    Raises Rejected (cause TABLE_LOCK, naming who holds it) and sqlite3.Error.
    """
    deadline = time.monotonic() + store.settings.lock_deadline
    while True:
        try:
            return act()
        except sqlite3.Error as error:
            if not failures.locked(error):
                raise
            blockers = "; ".join(holders(store.path))
            if time.monotonic() >= deadline:
                raise failures.table_lock(str(error), blockers, store.spot) from None
        time.sleep(random.uniform(0.02, 0.2))


def begin(store: Store, connection: Connection, kind: str = "IMMEDIATE") -> None:
    """Take the lock for writing, within ``lock_timeout``. Raises sqlite3.Error."""
    eagerly(store, connection, lambda: connection.execute(f"BEGIN {kind}"))


def eagerly(store: Store, connection: Connection, act: Callable[[], T]) -> T:
    """What ``act`` returns once it gets its lock. While it waits the library looks more and more seldom, so
    that programs which write without a pause would never let it in: here it is looked for all the time.
    """
    deadline = time.monotonic() + store.settings.lock_timeout
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                return act()
            except sqlite3.Error as error:
                if not failures.locked(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(PAUSE)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(store.settings.lock_timeout * 1000)}")


def holders(path: Path) -> Iterator[str]:
    """Processes of this host that hold locks on the file, but not this one: ``pid 12 (python3), writing``.

    Nothing where the system doesn't tell (only Linux does).
    """
    found: dict[int, bool] = {}
    inodes = set(_inodes(path))
    with contextlib.suppress(OSError):
        for line in TABLE.read_text().splitlines():
            fields = line.split()
            if len(fields) != _FIELDS or fields[5] not in inodes or int(fields[4]) in (0, os.getpid()):
                continue
            found[int(fields[4])] = found.get(int(fields[4]), False) or fields[3] == "WRITE"
    for pid, writes in sorted(found.items()):
        yield f"pid {pid} ({_command(pid)}), {'writing' if writes else 'reading'}"


def _inodes(path: Path) -> Iterator[str]:
    """Of the file, and of the one beside it in which WAL mode has its locks."""
    for file in (path, path.with_name(f"{path.name}-shm")):
        with contextlib.suppress(OSError):
            seen = file.stat()
            yield f"{os.major(seen.st_dev):02x}:{os.minor(seen.st_dev):02x}:{seen.st_ino}"


def _command(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "comm").read_text().strip()
    except OSError:
        return "?"
