"""Who is in the way: sessions that hold what another one waits for, named while it still waits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

import pymysql

from lastgood.domain.errors import DriverError
from lastgood.drivers.mariadb.connection import Connection, Server, one, rows

QUERY_LENGTH = 200
WAITING_FOR_TABLE = "Waiting for table%"

_SESSION = (
    "p.ID, p.USER, COALESCE(p.HOST, ''), COALESCE(p.COMMAND, ''), COALESCE(p.INFO, ''), "
    "COALESCE({since}, NOW() - INTERVAL p.TIME SECOND)"
)
# A lock on a row: the server itself knows who waits for whom.
_ROWS = (
    f"SELECT DISTINCT {_SESSION.format(since='b.trx_started')} FROM information_schema.INNODB_LOCK_WAITS w "
    "JOIN information_schema.INNODB_TRX r ON r.trx_id = w.requesting_trx_id "
    "JOIN information_schema.INNODB_TRX b ON b.trx_id = w.blocking_trx_id "
    "JOIN information_schema.PROCESSLIST p ON p.ID = b.trx_mysql_thread_id "
    "WHERE r.trx_mysql_thread_id = %s ORDER BY 6, 1"
)
# A lock on a table, with the plugin metadata_lock_info.
_HELD = (
    f"SELECT DISTINCT {_SESSION.format(since='t.trx_started')} FROM information_schema.METADATA_LOCK_INFO m "
    "JOIN information_schema.PROCESSLIST p ON p.ID = m.THREAD_ID "
    "LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID "
    "WHERE m.TABLE_SCHEMA = DATABASE() AND m.TABLE_NAME <> '' AND p.ID NOT IN (%s, CONNECTION_ID()) "
    f"AND COALESCE(p.STATE, '') NOT LIKE '{WAITING_FOR_TABLE}%' ORDER BY 6, 1"
)
# Without it: whoever has a transaction open or a statement under way in this database.
_OPEN = (
    f"SELECT DISTINCT {_SESSION.format(since='t.trx_started')} FROM information_schema.PROCESSLIST p "
    "LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID "
    "WHERE p.DB = DATABASE() AND p.ID NOT IN (%s, CONNECTION_ID()) "
    "AND (t.trx_id IS NOT NULL OR p.COMMAND <> 'Sleep') "
    f"AND COALESCE(p.STATE, '') NOT LIKE '{WAITING_FOR_TABLE}%' ORDER BY 6, 1"
)
# Without the right to see the others' transactions: the statements this user may see.
_SEEN = (
    f"SELECT {_SESSION.format(since='NULL')} FROM information_schema.PROCESSLIST p "
    "WHERE p.DB = DATABASE() AND p.ID NOT IN (%s, CONNECTION_ID()) "
    f"AND COALESCE(p.STATE, '') NOT LIKE '{WAITING_FOR_TABLE}%' ORDER BY 6, 1"
)
_STATE = "SELECT COALESCE(STATE, '') FROM information_schema.PROCESSLIST WHERE ID = %s"
_ONE = f"SELECT {_SESSION.format(since='NULL')} FROM information_schema.PROCESSLIST p WHERE p.ID = %s"


@dataclass(frozen=True)
class Blocker:
    """A session that holds a lock; ``since`` is when its transaction, or its present state, began, by the
    server's clock.
    """

    id: int
    user: str
    client: str
    command: str
    query: str
    since: datetime

    def __str__(self) -> str:
        query = " ".join(self.query.split())
        if len(query) > QUERY_LENGTH:
            query = query[:QUERY_LENGTH] + "…"
        state = "idle" if self.command == "Sleep" else "running"
        since = self.since.isoformat(timespec="seconds")
        return f"id {self.id} ({self.user} from {self.client}), {state} since {since}, query: {query or '-'}"


def blockers(connection: Connection, session: int) -> tuple[Blocker, ...]:
    """Sessions that ``session`` waits for, oldest first; as far as this user may see them."""
    queries = [_ROWS, _SEEN]
    state = str(one(connection, _STATE, session) or "").lower()
    if state.startswith("waiting for table") or "metadata lock" in state:
        queries = [_HELD, _OPEN, _SEEN]
    for query in queries:
        # The plugin may not be there, and transactions may be hidden from this user.
        with contextlib.suppress(pymysql.Error):
            return tuple(Blocker(*row) for row in rows(connection, query, session))
    return ()


def session(connection: Connection, number: int) -> tuple[Blocker, ...]:
    """The session of that number, as far as this user may see it."""
    return tuple(Blocker(*row) for row in rows(connection, _ONE, number))


def describe(found: Sequence[Blocker]) -> str:
    return "; ".join(str(b) for b in found)


class BlockerWatch:
    """Looks, through a session of its own, for what holds ``session`` up; quick work never opens it.

    Only while somebody waits does the server know for whom, and afterwards it is too late to ask.
    """

    def __init__(self, server: Server, session: int) -> None:
        self._server = server
        self._session = session
        self._pause = max(server.settings.lock_timeout / 5, 0.05)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name=f"blockers-of-{session}")
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
                if self._waits(connection):
                    self.last = blockers(connection, self._session) or self.last
                if self._over.wait(self._pause):
                    return

    def _waits(self, connection: Connection) -> bool:
        """Whether the watched session is held up now: else the others are in nobody's way."""
        state = str(one(connection, _STATE, self._session) or "").lower()
        if state.startswith("waiting for table") or "metadata lock" in state:
            return True
        query = (
            "SELECT COUNT(*) FROM information_schema.INNODB_TRX "
            "WHERE trx_mysql_thread_id = %s AND trx_state = 'LOCK WAIT'"
        )
        try:
            return bool(one(connection, query, self._session))
        except pymysql.Error:
            return state not in ("", "sleep")
