"""Another content for a file that other programs have open: written into it, in one transaction.

A renamed file would leave them writing to the old one. So the library's backup writes into the live file,
with its own lock and its own journal: killed at any moment, the old content is there, or the new one. From
the lock on nobody else writes, so what is done before the first page is written is a fence as well.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from lastgood.drivers.sqlite.connection import Connection, Store, is_wal, one
from lastgood.drivers.sqlite.copying import PAGES, unless_locked
from lastgood.drivers.sqlite.locks import PAUSE, begin, patiently

Work = Callable[[Connection], None]


def replace_content(store: Store, content: Connection, work: Work) -> tuple[float, float]:
    """While nobody else writes: ``work``, with a session that reads the live database, and then all of
    ``content`` into it. ``work`` may write to ``content``; what it raises leaves the live one as it was.

    Seconds during which nobody could write, and those of them that the writing took. Raises sqlite3.Error,
    and Rejected for a lock. ``work`` is done once at most.
    """
    with store.session() as live:
        in_wal = is_wal(live)
        if in_wal:
            return patiently(store, lambda: _behind_backup(store, content, live, work))
    return patiently(store, lambda: _behind_lock(store, content, work))


def _behind_backup(store: Store, content: Connection, live: Connection, work: Work) -> tuple[float, float]:
    """In WAL mode the backup's first step takes the lock, and others can still read."""
    times: list[float] = []

    def progress(status: int, remaining: int, total: int) -> None:
        unless_locked(status, remaining, total)
        if not times:
            times.append(time.monotonic())
            work(live)
            times.append(time.monotonic())

    # A step that copies the last page commits: the first one must not be it.
    pages = max(1, min(PAGES, int(one(content, "PRAGMA page_count")) // 2))
    with contextlib.closing(store.connect()) as target:
        content.backup(target, pages=pages, progress=progress, sleep=PAUSE)
    return _seconds(times)


def _behind_lock(store: Store, content: Connection, work: Work) -> tuple[float, float]:
    """With a rollback journal nobody else can even read: the session that has the lock does both, and keeps
    it in between.
    """
    with contextlib.closing(store.connect()) as target:
        target.execute("PRAGMA locking_mode = EXCLUSIVE")
        begin(store, target, "EXCLUSIVE")
        target.execute("COMMIT")
        times = [time.monotonic()]
        work(target)
        times.append(time.monotonic())
        content.backup(target, pages=PAGES, progress=unless_locked)
    return _seconds(times)


def _seconds(times: list[float]) -> tuple[float, float]:
    begun, worked = times
    now = time.monotonic()
    return now - begun, now - worked
