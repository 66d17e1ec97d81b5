"""What is in the way of a restore, found before anything is done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_, Message
from lastgood.drivers.postgresql import publication, sequences
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.fingerprint import Listing
from lastgood.drivers.postgresql.obstacles import RESERVE, limit_for
from lastgood.sql.keeping import Cut

_NAME = r'(?:"(?:[^"]|"")+"|[^\s".(]+)'
_REFERENCE = re.compile(rf"^FOREIGN KEY .*? REFERENCES (?P<schema>{_NAME})\.(?P<table>{_NAME})\(")
_TABLES = ("table", "partitioned table")

_RIGHTS = """
SELECT CASE WHEN NOT (r.rolsuper OR r.rolcreatedb) THEN 'CREATEDB'
            WHEN NOT (r.rolsuper OR r.rolreplication) THEN 'REPLICATION'
            WHEN NOT pg_has_role('pg_signal_backend', 'USAGE') THEN 'pg_signal_backend'
            WHEN NOT pg_has_role(d.datdba, 'USAGE') THEN 'membership in ' || pg_get_userbyid(d.datdba) END
FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()
"""
_OWNERS = """
SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1
"""
_SLOTS = """
SELECT slot_name, plugin FROM pg_replication_slots
WHERE database = current_database() AND NOT temporary AND NOT starts_with(slot_name, %s) ORDER BY 1
"""
# Only a superuser sees the column with the connection; whether there are any is everybody's to know.
_SUBSCRIPTIONS = """
SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE d.datname = current_database() ORDER BY 1
"""
# NULL where there is no bound.
_LOG = """
SELECT safe_wal_size, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint,
       pg_database_size(current_database())
FROM pg_replication_slots WHERE slot_name = %s AND safe_wal_size IS NOT NULL
"""
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 1"


def refuse(
    live: Connection, server: Server, cut: Cut, notes: publication.Notes, keep: Sequence[str], *, loads: bool
) -> None:
    """Raises Rejected with the first thing in the way; ``loads``: the copy is not there yet."""
    _refuse_rights(live, server)
    _refuse_keep(server, cut.listing, notes, [publication.short(name) for name in keep])
    subscriptions = _names(live, _SUBSCRIPTIONS)
    if subscriptions:
        raise _rejected(
            server,
            N_("subscriptions would stay with the failed database: {subscriptions}"),
            N_("Drop them; after the restore they have to be set up anew."),
            subscriptions=subscriptions,
        )
    if one(live, "SELECT EXISTS (SELECT FROM pg_largeobject_metadata)"):
        raise _rejected(
            server,
            N_("{address} has large objects, and what was written to them since is not in the log"),
            N_("Go back by the migration's revert.sql."),
        )
    if loads:
        refuse_short_log(live, server, cut)
    prepared(live, server)


def refuse_short_log(live: Connection, server: Server, cut: Cut) -> None:
    """Raises Rejected: loading the copy writes it to the log once more, and the server must not give the
    capture up for that.
    """
    row = live.execute(
        _LOG, (publication.capture_name(server.settings.resource, cut.snapshot.id),)
    ).fetchone()
    if row is None:
        return
    left, held, size = row
    if left < size:
        raise _rejected(
            server,
            N_(
                "the server would give up the log since the snapshot while the copy of {address} is loaded: "
                "that takes {need} MiB of log, and {left} MiB are left"
            ),
            N_("ALTER SYSTEM SET max_slot_wal_keep_size = '{limit}'; SELECT pg_reload_conf()"),
            need=size >> 20,
            left=max(left, 0) >> 20,
            limit=limit_for(held + size + RESERVE),
        )


def slots_left(live: Connection, server: Server) -> tuple[Message, ...]:
    """Readers of the log that are not ours: a slot belongs to its database, whatever that is called."""
    rows = live.execute(_SLOTS, (publication.capture_prefix(server.settings.resource),))
    template = N_(
        "the replication slot {slot} ({plugin}) stays with the failed database: what reads it gets nothing "
        "of the restored one until it is set up anew there"
    )
    return tuple(Message(template, {"slot": slot, "plugin": plugin}) for slot, plugin in rows)


def prepared(live: Connection, server: Server) -> None:
    """Raises Rejected: whoever prepared a transaction was promised that it can still be committed."""
    names = _names(live, _PREPARED)
    if names:
        raise _rejected(
            server,
            N_("prepared transactions would stay with the failed database: {names}"),
            N_("Commit them or roll them back, then try again."),
            names=names,
        )


def missing(listing: Listing, keep: Iterable[str]) -> Mapping[str, str]:
    """Tables that kept ones refer to, and that are not kept; each with one that refers to it."""
    kept = set(keep)
    found: dict[str, str] = {}
    for (kind, _), part in sorted(listing.items()):
        match = _REFERENCE.match(part.definition) if kind == "constraint" else None
        child = publication.short(part.parent)
        if match is None or child not in kept:
            continue
        parent = publication.short(f"{_plain(match['schema'])}.{_plain(match['table'])}")
        if parent not in kept:
            found.setdefault(parent, child)
    return found


def _refuse_rights(live: Connection, server: Server) -> None:
    right = one(live, _RIGHTS)
    owners = _names(live, _OWNERS)
    hidden = ", ".join(f"{s.schema}.{s.name}" for s in sequences.read(live) if not s.readable)
    if owners and not right:
        right = f"membership in {owners}"
    elif hidden and not right:
        right = f"SELECT on sequence {hidden}"
    if right:
        raise Rejected(
            N_("'{user}' lacks a right that a restore of {address} needs: {right}"),
            todo=N_("Give it that right, or use a user that has it; nothing was done."),
            where=server.spot.address,
            cause=Cause.PERMISSION,
            user=server.user,
            address=server.spot.address,
            right=right,
        )


def _refuse_keep(server: Server, listing: Listing, notes: publication.Notes, keep: Sequence[str]) -> None:
    tables = {publication.short(name) for kind, name in listing if kind in _TABLES}
    tables |= {publication.short(name) for name in notes.tables.values()}
    unknown = [name for name in keep if name not in tables]
    if unknown:
        raise _rejected(
            server,
            N_("tables to be kept are not there: {tables}"),
            N_("Correct 'keep'; tables outside of public are written schema.table."),
            tables=", ".join(unknown),
        )
    parts = [
        publication.short(name) for (kind, name), part in listing.items()
        if kind == "table" and "; partition " in part.definition
    ]  # fmt: skip
    if any(name in parts for name in keep):
        raise _rejected(
            server,
            N_("partitions are kept together with their table only: {tables}"),
            N_("Name the partitioned table in 'keep'."),
            tables=", ".join(name for name in keep if name in parts),
        )
    needed = missing(listing, keep)
    if needed:
        raise _rejected(
            server,
            N_("tables that are kept refer to tables that are not: {tables}"),
            N_("Add them to 'keep': a row can't be carried over without the one it refers to."),
            tables=", ".join(f"{child} → {parent}" for parent, child in needed.items()),
        )
    unseen = [name for name in map(publication.short, notes.gaps) if name in keep]
    if unseen:
        raise _rejected(
            server,
            N_("what was written to these tables was not captured, so that it can't be kept: {tables}"),
            N_("Take them out of 'keep': their rows since the cut stay in the failed database."),
            tables=", ".join(unseen),
        )


def _names(connection: Connection, question: LiteralString, *parameters: str) -> str:
    rows = connection.execute(question, parameters or None)
    return ", ".join(str(row[0]) for row in rows)


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _rejected(server: Server, what: str, todo: str, **params: Any) -> Rejected:
    address = server.spot.address
    return Rejected(what, todo=todo, where=address, address=address, **params)
