"""Who is in the way: sessions that hold what another one waits for, named while it still waits."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

import psycopg

from lastgood.drivers.postgresql.connection import Connection, Server
from lastgood.sql.blockers import BlockerWatch

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

# Asked and ended in one statement: it may just have gone on. The leader of a parallel dump only looks idle.
_END_IDLE = """
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.pid = %s AND a.xact_start = %s AND a.state LIKE 'idle in transaction%%'
  AND a.application_name <> 'pg_dump'
  AND a.state_change < clock_timestamp() - make_interval(secs => %s)
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


Watch = BlockerWatch[Connection, Blocker]


def watching(server: Server, pid: int) -> Watch:
    """Looks for what holds the session ``pid`` up, and ends what the settings allow."""

    def look(own: Connection) -> tuple[Blocker, ...]:
        found = blockers(own, pid)
        if server.settings.end_idle_after:
            _end_idle(own, found, server)
        return found

    return Watch(server.session, look, server.settings.lock_timeout)


def _end_idle(connection: Connection, found: tuple[Blocker, ...], server: Server) -> None:
    for blocker in found:
        # Somebody else's session may be none that we may end; the blocker is named then, as ever.
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
            ended = connection.execute(
                _END_IDLE, (blocker.pid, blocker.since, server.settings.end_idle_after)
            )
            if ended.fetchone() == (True,):
                server.ended.note(blocker)
