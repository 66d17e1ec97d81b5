"""Why the writes of a database can't be captured, with what would change that."""

from __future__ import annotations

from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql import slots
from lastgood.drivers.postgresql.connection import Connection, Server

SLOTS = 3
"""Free ones: the capture's own, one for reading it, one for a restore beside it."""
OPENING = 2
"""Free ones beside those of an older capture, which is ended only when the new one is whole."""
RESERVE = 64 << 20
"""Bytes of log that customers may write at least while a copy is loaded."""

_ROLE = N_(
    "'{user}' may not read the log of {address}, the right REPLICATION is missing: "
    "ALTER ROLE {user} REPLICATION"
)
_CREATE = N_(
    "'{user}' may not publish tables of {address}, the right CREATE on the database is missing: "
    "GRANT CREATE ON DATABASE {database} TO {user}"
)
_IDLE = N_(
    "{address} gives up the log that nobody read for {time}, and a capture is read by a restore only: "
    "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()"
)
RIGHTS = frozenset({_ROLE, _CREATE})

_FACTS = """
SELECT pg_is_in_recovery(), current_setting('wal_level'),
       (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
       pg_database_size(current_database()),
       current_setting('max_replication_slots')::int, s.taken, s.older,
       (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user),
       has_database_privilege(current_database(), 'CREATE'), current_user, current_database(),
       (SELECT current_setting(name) FROM pg_settings
        WHERE name = 'idle_replication_slot_timeout' AND setting <> '0')
FROM (SELECT count(*) AS taken, count(*) FILTER (WHERE starts_with(slot_name, %s)) AS older
      FROM pg_replication_slots) s
"""


def find(server: Server, prefix: str) -> Message | None:
    """The first one in the way; slots that begin with ``prefix`` are ended in the end. Raises DriverError."""
    with server.session() as connection:
        found = _by_facts(connection, server, prefix)
    return found or _by_trying(server)


def limit_for(bytes_: int) -> str:
    """``max_slot_wal_keep_size`` for that much log, in whole GB as the server reads them."""
    return f"{max(4, -(-bytes_ >> 30))}GB"


def _by_facts(connection: Connection, server: Server, prefix: str) -> Message | None:
    row = connection.execute(_FACTS, (prefix,)).fetchone()
    assert row is not None, "the question always has an answer"
    standby, level, bound, size, all_slots, taken, older, role, create, user, database, idle = row
    params = {"address": server.spot.address, "user": user, "database": database}
    if standby:
        return Message(N_("{address} only reads: point the url at the primary server"), params)
    if level != "logical":
        return Message(
            N_(
                "the log of {address} holds too little (wal_level is {level}): "
                "ALTER SYSTEM SET wal_level = logical, then restart the server"
            ),
            {**params, "level": level},
        )
    # Rehearsal and restore each load a copy, and all of it is in the log that the slot holds.
    wanted = 2 * size + RESERVE
    if bound < 0:
        return Message(
            N_(
                "{address} would keep its log without bound: "
                "ALTER SYSTEM SET max_slot_wal_keep_size = '{limit}'; SELECT pg_reload_conf()"
            ),
            {**params, "limit": limit_for(wanted)},
        )
    if bound << 20 < wanted:
        return Message(
            N_(
                "{address} keeps {bound} MiB of its log at most, and the copies for a rehearsal and a "
                "restore alone take {need} MiB of it: "
                "ALTER SYSTEM SET max_slot_wal_keep_size = '{limit}'; SELECT pg_reload_conf()"
            ),
            {**params, "bound": bound, "need": wanted >> 20, "limit": limit_for(wanted)},
        )
    if idle:
        return Message(_IDLE, {**params, "time": idle})
    if not role:
        return Message(_ROLE, params)
    if not create:
        return Message(_CREATE, params)
    free, need = all_slots - taken, max(OPENING, SLOTS - older)
    if free < need:
        return Message(
            N_(
                "{address} has {free} free replication slots of {all}, and {need} are needed: "
                "drop unused ones, or raise max_replication_slots and restart the server"
            ),
            {**params, "free": max(free, 0), "all": all_slots, "need": need},
        )
    return None


def _by_trying(server: Server) -> Message | None:
    """pg_hba.conf, a pooler in between and ``max_wal_senders`` show only so."""
    try:
        slots.replicating(server).close()
    except DriverError as error:
        return Message(
            N_(
                "{address} takes no session for replication ({error}): "
                "look at max_wal_senders and pg_hba.conf, and let the url name the server, not a pooler"
            ),
            {"address": server.spot.address, "error": str(error)},
        )
    return None
