"""Who is in the way: sessions that hold what another one waits for, named while it still waits."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime

import pymysql

from lastgood.drivers.mariadb import failures, revisions
from lastgood.drivers.mariadb.connection import Connection, Server, one, rows
from lastgood.sql.blockers import BlockerWatch, describe

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
_IDLE = (
    "SELECT COUNT(*) FROM information_schema.PROCESSLIST p "
    "JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID "
    "WHERE p.ID = %s AND p.COMMAND = 'Sleep' AND p.TIME > %s"
)
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


Watch = BlockerWatch[Connection, Blocker]


def let_none_in(server: Server, connection: Connection) -> None:
    """No other migration into the database while this session lives. Raises Rejected."""
    name = revisions.lock_name(server.database)
    if one(connection, "SELECT GET_LOCK(%s, %s)", name, server.settings.lock_deadline) != 1:
        holder = one(connection, "SELECT IS_USED_LOCK(%s)", name)
        found = describe(session(connection, holder)) if holder else ""
        raise failures.table_lock("another migration is under way", found, server.spot)


def watching(server: Server, session: int) -> Watch:
    """Looks for what holds that session up, while it is held up: else the others are in nobody's way."""

    def look(own: Connection) -> tuple[Blocker, ...]:
        found = blockers(own, session) if _waits(own, session) else ()
        if server.settings.end_idle_after:
            _end_idle(own, found, server)
        return found

    return Watch(server.session, look, server.settings.lock_timeout)


def _end_idle(connection: Connection, found: tuple[Blocker, ...], server: Server) -> None:
    """Looked at once more just before: it may have gone on. Only sessions of which the server shows an open
    transaction; one that just sits there holds nothing.
    """
    for blocker in found:
        # Somebody else's session may be none that we may end; the blocker is named then, as ever.
        with contextlib.suppress(pymysql.Error):
            if one(connection, _IDLE, blocker.id, server.settings.end_idle_after):
                connection.query(f"KILL CONNECTION {blocker.id:d}")
                server.ended.note(blocker)


def _waits(connection: Connection, session: int) -> bool:
    """Whether the watched session is held up now: else the others are in nobody's way."""
    state = str(one(connection, _STATE, session) or "").lower()
    if state.startswith("waiting for table") or "metadata lock" in state:
        return True
    query = (
        "SELECT COUNT(*) FROM information_schema.INNODB_TRX "
        "WHERE trx_mysql_thread_id = %s AND trx_state = 'LOCK WAIT'"
    )
    try:
        return bool(one(connection, query, session))
    except pymysql.Error:
        return state not in ("", "sleep")
