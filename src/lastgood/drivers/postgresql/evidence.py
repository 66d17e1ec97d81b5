"""What a root-cause analysis will want to know of the database, as it was when things went wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, LiteralString

from psycopg.rows import dict_row

from lastgood.domain.errors import DriverError
from lastgood.domain.observation import EvidenceItem
from lastgood.drivers.postgresql import revisions
from lastgood.drivers.postgresql.connection import Connection, Server

_QUESTIONS: Mapping[str, LiteralString] = {
    "server": """
        SELECT version() AS version, pg_postmaster_start_time()::text AS started,
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text
                   AS log_position,
               pg_database_size(current_database()) AS bytes,
               current_setting('max_connections') AS sessions_allowed,
               (SELECT count(*) FROM pg_stat_activity) AS sessions""",
    "activity": """
        SELECT pid, usename AS user, application_name AS application, client_addr::text AS client, state,
               wait_event_type, wait_event, backend_start::text, xact_start::text, query_start::text,
               state_change::text, pg_blocking_pids(pid) AS blocked_by, query
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        ORDER BY xact_start NULLS LAST""",
    "locks": """
        SELECT l.pid, l.locktype, l.mode, l.granted, coalesce(c.oid::regclass::text, '') AS relation,
               l.waitstart::text
        FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
        WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.pid <> pg_backend_pid() ORDER BY l.granted, l.pid""",
    "statistics": """
        SELECT xact_commit, xact_rollback, deadlocks, conflicts, temp_bytes, blks_read, blks_hit
        FROM pg_stat_database WHERE datname = current_database()""",
}


def collect(server: Server) -> Sequence[EvidenceItem]:
    """One JSON file a question; a server that can't be asked is evidence too."""
    try:
        with server.reading(statement_timeout=5) as connection:
            items = [_item(name, _rows(connection, query)) for name, query in _QUESTIONS.items()]
            deployed = [
                {"name": r.name, "digest": r.digest, "key": r.key, "deployed_at": r.deployed_at}
                for r in revisions.read(connection)
            ]
            return [*items, _item("revisions", deployed)]
    except DriverError as error:
        return [_item("unreachable", [{"error": str(error), "address": server.spot.address}])]


def _rows(connection: Connection, query: LiteralString) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()


def _item(name: str, rows: Sequence[Mapping[str, Any]]) -> EvidenceItem:
    content = {"observed_at": datetime.now(UTC).isoformat(), "rows": rows}
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    return EvidenceItem(f"postgresql-{name}.json", text.encode())
