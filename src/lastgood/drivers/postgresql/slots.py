"""Replication slots of captures: what the server keeps of its log, and from which moment on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from lastgood.domain.errors import Cause, DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import changes, failures
from lastgood.drivers.postgresql.connection import Connection, Server
from lastgood.drivers.postgresql.locks import writers
from lastgood.sql.blockers import describe

OPENING = "_open"
PATIENCE = 10.0

# The session waits for the dump, in a transaction; when we are cut off, it must not hold its slot for ever.
_OPTIONS = {
    "statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0", "tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """``begins``: what was committed before is not in it. ``held``: bytes of log kept for it.
    ``lost``: the server gave it up; ``idle``: because nobody read it.
    """

    begins: str
    held: int
    lost: bool
    database: str
    idle: bool = False


def replicating(server: Server) -> Connection:
    """A session that speaks the replication protocol. Raises DriverError."""
    given = server.settings.parameters.get("options", "")
    options = " ".join([given, *(f"-c {name}={value}" for name, value in _OPTIONS.items())]).strip()
    parameters = {**server.settings.parameters, "options": options, "replication": "database"}
    return replace(server, settings=replace(server.settings, parameters=parameters)).connect()


@contextlib.contextmanager
def opening(server: Server, name: str) -> Iterator[tuple[str, str]]:
    """A slot that lives as long as the block, unless ``keep`` is called: the log position it begins at, and
    the name of a snapshot that sees exactly what was committed before.

    Raises Rejected when transactions that began before don't end in ``lock_deadline``.
    """
    with contextlib.closing(replicating(server)) as connection:
        begun = time.monotonic()
        timer = threading.Timer(server.settings.lock_deadline, connection.cancel_safe)
        timer.start()
        try:
            # This form of the command is the one that every version knows.
            command = sql.SQL("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT")
            row = connection.execute(command.format(sql.Identifier(name + OPENING))).fetchone()
        except psycopg.errors.QueryCanceled:
            raise _waited(server, time.monotonic() - begun) from None
        except psycopg.Error as error:
            raise failures.translate(error, server.spot) from None
        finally:
            timer.cancel()
        assert row is not None, "the command answers with a row"
        try:
            yield str(row[1]), str(row[2])
        finally:
            # The server notices that we are gone a moment later only.
            with contextlib.suppress(psycopg.Error):
                drop_command = sql.SQL("DROP_REPLICATION_SLOT {}").format(sql.Identifier(name + OPENING))
                connection.execute(drop_command)


def keep(connection: Connection, name: str) -> None:
    """Have the slot of ``opening`` outlive its session."""
    changes.branch(connection, name + OPENING, name)


def look(connection: Connection, name: str) -> Slot | None:
    row = connection.execute(
        "SELECT coalesce(confirmed_flush_lsn::text, '0/0'), "
        "coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint, "
        "coalesce(wal_status, '') IN ('lost', ''), coalesce(database, ''), "
        # Older servers have no such column.
        "coalesce(to_jsonb(s) ->> 'invalidation_reason' = 'idle_timeout', false) "
        "FROM pg_replication_slots s WHERE slot_name = %s",
        (name,),
    ).fetchone()
    return Slot(*row) if row else None


def beginning_with(connection: Connection, prefix: str) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT slot_name FROM pg_replication_slots WHERE starts_with(slot_name, %s) ORDER BY 1", (prefix,)
    )
    return tuple(row[0] for row in rows)


def drop(connection: Connection, name: str) -> None:
    """Gone when it returns. A session that still uses it, one that a crash of ours left, is ended."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s",
                (name,),
            )
        except psycopg.errors.UndefinedObject:
            return
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
            connection.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
                "WHERE slot_name = %s AND active_pid IS NOT NULL",
                (name,),
            )
            time.sleep(0.02)
        else:
            return


def _waited(server: Server, seconds: float) -> Rejected:
    names = ""
    with contextlib.suppress(DriverError), server.session() as connection:
        names = describe(writers(connection, older=seconds))
    return Rejected(
        N_("a capture of {address} waits for transactions that began before it: {blockers}"),
        todo=N_("Wait for them to end, or end them, then try again; nothing was written."),
        where=server.spot.address,
        cause=Cause.TABLE_LOCK,
        address=server.spot.address,
        blockers=names or "unknown",
    )
