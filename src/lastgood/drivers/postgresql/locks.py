"""Who is in the way: sessions that hold what another one waits for, named while it still waits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from lastgood.domain.errors import DriverError
from lastgood.drivers.postgresql.connection import Connection, Server

QUERY_LENGTH = 200

_BLOCKERS = """
WITH RECURSIVE chain(pid) AS (
    SELECT unnest(pg_blocking_pids(%s))
    UNION SELECT unnest(pg_blocking_pids(chain.pid)) FROM chain
)
SELECT a.pid, coalesce(a.usename, ''), a.application_name, coalesce(a.client_addr::text, 'local'),
       coalesce(a.state, 'unknown'), coalesce(a.query, ''), coalesce(a.xact_start, a.backend_start, now())
FROM chain JOIN pg_stat_activity a ON a.pid = chain.pid AND a.pid <> %s
ORDER BY 7, 1
"""

_HOLDERS = """
SELECT a.pid, coalesce(a.usename, ''), a.application_name, coalesce(a.client_addr::text, 'local'),
       coalesce(a.state, 'unknown'), coalesce(a.query, ''), coalesce(a.xact_start, a.backend_start, now())
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND EXISTS (
    SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.granted
       AND l.mode = 'AccessExclusiveLock')
ORDER BY 7, 1
"""

_WRITERS = """
SELECT coalesce(a.pid, 0), coalesce(a.usename, p.owner, ''), coalesce(a.application_name, ''),
       coalesce(a.client_addr::text, 'local'), coalesce(a.state, 'prepared as ' || p.gid, 'unknown'),
       coalesce(a.query, ''), coalesce(a.xact_start, p.prepared, now())
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
  AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND coalesce(a.xact_start, p.prepared, '-infinity') < now() - make_interval(secs => %s) ORDER BY 7, 1
"""


@dataclass(frozen=True)
class Blocker:
    """A session that holds a lock; ``since`` is when its transaction began."""

    pid: int
    user: str
    application: str
    client: str
    state: str
    query: str
    since: datetime

    def __str__(self) -> str:
        query = " ".join(self.query.split())
        if len(query) > QUERY_LENGTH:
            query = query[:QUERY_LENGTH] + "…"
        since = self.since.isoformat(timespec="seconds")
        name = f"{self.user}, {self.application}" if self.application else self.user
        return f"pid {self.pid} ({name} from {self.client}), {self.state} since {since}, query: {query}"


def blockers(connection: Connection, pid: int) -> tuple[Blocker, ...]:
    """Sessions that ``pid`` waits for, directly or through another waiter, oldest first."""
    return tuple(Blocker(*row) for row in connection.execute(_BLOCKERS, (pid, pid)))


def holders(connection: Connection) -> tuple[Blocker, ...]:
    """Sessions of this database that hold a whole table against every reader, oldest first."""
    return tuple(Blocker(*row) for row in connection.execute(_HOLDERS))


def writers(connection: Connection, *, older: float) -> tuple[Blocker, ...]:
    """Transactions on the whole server that have written and run longer than that many seconds."""
    return tuple(Blocker(*row) for row in connection.execute(_WRITERS, (older,)))


def describe(found: Sequence[Blocker]) -> str:
    return "; ".join(str(b) for b in found)


class BlockerWatch:
    """Looks, through a session of its own, for what holds ``pid`` up; quick work never opens it.

    Only while somebody waits does the server know for whom, and afterwards it is too late to ask.
    """

    def __init__(self, server: Server, pid: int) -> None:
        self._server = server
        self._pid = pid
        self._pause = max(server.settings.lock_timeout / 5, 0.05)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name=f"blockers-of-{pid}")
        self.last: tuple[Blocker, ...] = ()

    def __enter__(self) -> BlockerWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        if self._over.wait(min(self._pause, 0.25)):
            return
        # Without this look the message is poorer; the migration itself must not fail for it.
        with contextlib.suppress(DriverError), self._server.session() as connection:
            while True:
                self.last = blockers(connection, self._pid) or self.last
                if self._over.wait(self._pause):
                    return
