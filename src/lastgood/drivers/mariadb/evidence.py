"""What a root-cause analysis will want to know of the database, as it was when things went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pymysql

from lastgood.domain.errors import DriverError
from lastgood.domain.observation import EvidenceItem
from lastgood.drivers.mariadb import failures, revisions
from lastgood.drivers.mariadb.connection import Connection, Server

_QUESTIONS: Mapping[str, str] = {
    "server": """
        SELECT VERSION() AS version, @@max_connections AS sessions_allowed,
               (SELECT COUNT(*) FROM information_schema.PROCESSLIST) AS sessions,
               (SELECT SUM(DATA_LENGTH + INDEX_LENGTH) FROM information_schema.TABLES
                WHERE TABLE_SCHEMA = DATABASE()) AS bytes""",
    "activity": """
        SELECT ID AS id, USER AS user, HOST AS client, COMMAND AS command, STATE AS state, TIME AS seconds,
               INFO AS query
        FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()
        ORDER BY TIME DESC""",
    "transactions": """
        SELECT trx_mysql_thread_id AS id, trx_state AS state, trx_started AS since,
               trx_tables_locked AS tables_locked, trx_rows_locked AS rows_locked,
               trx_rows_modified AS rows_modified, trx_query AS query
        FROM information_schema.INNODB_TRX ORDER BY trx_started""",
    "statistics": """
        SHOW GLOBAL STATUS WHERE Variable_name IN (
            'Uptime', 'Threads_running', 'Threads_connected', 'Slow_queries', 'Aborted_clients',
            'Aborted_connects', 'Innodb_deadlocks', 'Innodb_row_lock_waits', 'Innodb_row_lock_time',
            'Binlog_snapshot_file', 'Binlog_snapshot_position')""",
}


def collect(server: Server) -> Sequence[EvidenceItem]:
    """One JSON file a question; a server that can't be asked is evidence too."""
    try:
        with server.session() as connection:
            server.guard(connection, statement_timeout=5)
            items = [_item(name, _answer(connection, query)) for name, query in _QUESTIONS.items()]
            deployed = [
                {"name": r.name, "digest": r.digest, "key": r.key, "deployed_at": r.deployed_at}
                for r in revisions.read(connection)
            ]
            return [*items, _item("revisions", deployed)]
    except DriverError as error:
        return [_item("unreachable", [{"error": str(error), "address": server.spot.address}])]


def _answer(connection: Connection, query: str) -> list[dict[str, Any]]:
    """Rows by the names of their columns; what this user may not see is said."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(query)
        except pymysql.Error as error:
            if failures.lost(error):
                raise
            return [{"error": failures.text(error)}]
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _item(name: str, rows: Sequence[Mapping[str, Any]]) -> EvidenceItem:
    content = {"observed_at": datetime.now(UTC).isoformat(), "rows": rows}
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    return EvidenceItem(f"mariadb-{name}.json", text.encode())
