"""What a logical replication slot holds, as changes of rows, read without consuming it.

The functions that peek into a slot start at its beginning each time, and the server puts the whole answer
aside before the first row leaves. So a temporary copy of the slot is read instead, page by page: the
copy moves on, the slot stays where it is, and the session's end removes the copy whatever happens.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace

import psycopg
from psycopg import errors, sql

from lastgood.drivers.postgresql.connection import Connection, one
from lastgood.drivers.postgresql.pgoutput import MARK, Parser, number, position
from lastgood.sql.changes import Change, Kind, Relation, Transaction

__all__ = [
    "Change", "Kind", "Relation", "Transaction",
    "advance", "branch", "mark", "now", "number", "pages", "partition_keys", "position", "rejoined", "settle",
    "transactions",
]  # fmt: skip

_PARTITION_KEYS = """
SELECT pg_partition_root(p.partrelid)::oid::bigint, array_agg(DISTINCT a.attname::text)
FROM pg_partitioned_table p
JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY(p.partattrs::int2[])
GROUP BY 1
"""

PAGE = 10_000
"""Messages after which a page ends, with the transaction that is then complete."""

CHUNK = 500
"""Messages that the client takes at a time: one by one takes longer than to read them."""

SETTLING = 500
"""Milliseconds for which a new slot waits for transactions that run now; the note is written before."""

_READ = """
SELECT data FROM pg_logical_slot_get_binary_changes(
    %s, %s::text::pg_lsn, %s, 'proto_version', '1', 'messages', 'true', 'publication_names', %s::text)
"""


def transactions(
    connection: Connection, slot: str, publication: str, *, after: str = "", up_to: str = ""
) -> Iterator[Transaction]:
    """In order of commit, without consuming them; those that ended at ``after`` or before are left out, and
    those that changed no published row. ``up_to`` empty: all that were acknowledged when this was called.

    ``connection`` is in autocommit mode and free between two transactions. No more than ``PAGE`` messages and
    one transaction are held in memory. The server needs one free replication slot. Raises psycopg.Error.
    """
    up_to = up_to or now(connection)
    first, last = number(after) if after else 0, number(up_to)
    parser = Parser()
    for page in pages(connection, slot, publication, after=after, up_to=up_to):
        done = [t for message in page if (t := parser.feed(message)) is not None]
        yield from (t for t in done if t.changes and first < number(t.end) <= last)


def pages(
    connection: Connection, slot: str, publication: str, *, after: str = "", up_to: str
) -> Iterator[list[bytes]]:
    """The same as the server's messages, whole transactions at a time."""
    reading = f"lastgood_reading_{secrets.token_hex(8)}"
    branch(connection, slot, reading, temporary=True)
    try:
        if after:
            advance(connection, reading, after)
        while True:
            page = _page(connection, reading, publication, up_to)
            yield page
            if len(page) < PAGE:
                return
    finally:
        with contextlib.suppress(psycopg.Error):
            connection.execute("SELECT pg_drop_replication_slot(%s)", (reading,))


def partition_keys(connection: Connection) -> Mapping[int, frozenset[str]]:
    """The columns by which the parts of a table are told apart, by the oid of the topmost one."""
    found: dict[int, frozenset[str]] = {}
    for oid, columns in connection.execute(_PARTITION_KEYS):
        found[oid] = frozenset(columns)
    return found


def rejoined(transaction: Transaction, keys: Mapping[int, frozenset[str]]) -> Transaction:
    """An UPDATE that moved a row to another partition is logged as a DELETE and an INSERT right after it;
    one change again, so that what a migration did to the row is still known of it.
    """
    done: list[Change] = []
    for change in transaction.changes:
        if done and _moved(done[-1], change, keys):
            done[-1] = Change(Kind.UPDATE, change.relation, done[-1].old, change.new)
        else:
            done.append(change)
    return replace(transaction, changes=tuple(done))


def _moved(gone: Change, come: Change, keys: Mapping[int, frozenset[str]]) -> bool:
    """Alike in all of the key but what decides on the partition; and there is such a rest."""
    relation = come.relation
    if (gone.kind, come.kind) != (Kind.DELETE, Kind.INSERT) or gone.relation != relation:
        return False
    rest = set(relation.key) - keys.get(relation.oid, frozenset(relation.key))
    return bool(rest) and all(gone.old.get(column) == come.new.get(column) for column in rest)


def branch(connection: Connection, slot: str, name: str, *, temporary: bool = False) -> None:
    """Another slot that begins where ``slot`` does and then goes its own way."""
    connection.execute("SELECT pg_copy_logical_replication_slot(%s, %s, %s)", (slot, name, temporary))


def advance(connection: Connection, slot: str, to: str) -> None:
    """Consume all that ended at ``to`` or before; a slot that is there or beyond stays."""
    connection.execute(
        "SELECT pg_replication_slot_advance(slot_name, %s::text::pg_lsn) FROM pg_replication_slots "
        "WHERE slot_name = %s AND confirmed_flush_lsn < %s::text::pg_lsn",
        (to, slot, to),
    )


def settle(connection: Connection) -> None:
    """Have the server note which transactions run now, as it does by itself every 15 seconds only: decoding a
    slot begins at such a note, however far the slot was advanced, and reads all the log since.

    A new slot brings the note along; whether it comes into being in time does not matter. Needs a free one.
    """
    name = f"lastgood_settling_{secrets.token_hex(8)}"
    with contextlib.suppress(errors.QueryCanceled, errors.ConfigurationLimitExceeded):
        with connection.transaction():
            connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(SETTLING)))
            connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput', true)", (name,))
        connection.execute("SELECT pg_drop_replication_slot(%s)", (name,))


def mark(connection: Connection, what: str) -> str:
    """Have the present transaction known as ours in the log: undone with it, and readable after it. Returns
    the log position where that is said to the end.
    """
    asked = "SELECT pg_logical_emit_message(true, %s, %s::text)::text"
    return str(one(connection, asked, MARK, what))


def now(connection: Connection) -> str:
    """A log position behind everything acknowledged before, also what ``synchronous_commit = off`` left
    unwritten: decoding sees only what is on the disk.

    It is where a record of ours ends. How far the log is on the disk may be the middle of somebody's commit:
    that is not over there, and a slot that was moved on to it leaves it out.
    """
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit = local")
        return mark(connection, "position")


def _page(connection: Connection, slot: str, publication: str, up_to: str) -> list[bytes]:
    """The messages of the next transactions."""
    names = sql.Identifier(publication).as_string(connection)
    with connection.transaction(), connection.cursor(binary=True) as cursor:
        connection.execute(_FORM)
        return [m for (m,) in cursor.stream(_READ, (slot, up_to, PAGE, names), size=CHUNK)]


_FORM = """
SET LOCAL statement_timeout = 0; SET LOCAL client_encoding = 'UTF8'; SET LOCAL search_path = pg_catalog;
SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = postgres; SET LOCAL timezone = 'UTC';
SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = hex; SET LOCAL lc_monetary = 'C'
"""
"""Values always read alike, whatever the settings of the database and of the role."""
