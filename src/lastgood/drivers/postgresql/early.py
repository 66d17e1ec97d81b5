"""Writes of the time in which a copy was loaded, put aside in the live database: raw, as the slot gave them.

The load is in the log, and a slot that begins before it makes everybody who reads it read all of that again:
the counting before a restore, the carrying over, each time a pass over as much log as the database is large.
So once the copy stands by, what the slot holds up to then is written into a table of ours, and only when that
is committed the slot moves on. What was put aside and where it ends are one transaction: it is whole or not
there, and the slot begins at the cut, or nowhere behind that end. Both are read alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lastgood.drivers.postgresql import changes
from lastgood.drivers.postgresql.changes import Transaction, number
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.pgoutput import Parser

_CREATE = """
CREATE SCHEMA IF NOT EXISTS lastgood;
CREATE TABLE IF NOT EXISTS lastgood.early_ends (capture text PRIMARY KEY, ends text NOT NULL);
CREATE TABLE IF NOT EXISTS lastgood.early (
    capture text NOT NULL, seq bigint NOT NULL, message bytea NOT NULL, PRIMARY KEY (capture, seq)
);
COMMENT ON TABLE lastgood.early IS 'Written while a copy was loaded; goes with its capture'
"""
_THERE = "SELECT to_regclass('lastgood.early_ends') IS NOT NULL"
PAGE = 10_000
"""Messages read at once."""


def put_aside(server: Server, connection: Connection, capture: str) -> None:
    """All that slot and publication ``capture`` hold now, once; repeated, the slot is moved on if it was not.

    ``connection`` is in autocommit mode; nobody else calls this for the capture meanwhile.
    """
    ends = near = end(connection, capture)
    if not ends:
        # Noted before the end, so that the slot's reading begins there and not before the load.
        changes.settle(connection)
        near, ends = changes.now(connection), changes.now(connection)
        with server.patient_session() as reading, connection.transaction():
            connection.execute(_CREATE)
            connection.execute("DELETE FROM lastgood.early WHERE capture = %s", (capture,))
            pages = changes.pages(reading, capture, capture, up_to=ends)
            words = "COPY lastgood.early (capture, seq, message) FROM STDIN"
            with connection.cursor() as cursor, cursor.copy(words) as copy:
                for seq, message in enumerate(message for page in pages for message in page):
                    copy.write_row((capture, seq, message))
            connection.execute("INSERT INTO lastgood.early_ends VALUES (%s, %s)", (capture, ends))
    # A slot takes the first note it meets, and every one that lies before where it was: so it goes twice.
    changes.advance(connection, capture, near)
    changes.advance(connection, capture, ends)


def end(connection: Connection, capture: str) -> str:
    """The log position up to which writes were put aside; empty when none were."""
    if not one(connection, _THERE):
        return ""
    row = connection.execute("SELECT ends FROM lastgood.early_ends WHERE capture = %s", (capture,)).fetchone()
    return str(row[0]) if row else ""


def whole(connection: Connection, capture: str, cut: str, begins: str) -> bool:
    """Whether slot and what was put aside hold everything since ``cut``. After a crash of the server a slot
    may begin where it was a moment before.
    """
    ends = end(connection, capture) or cut
    return number(cut) <= number(begins) <= max(number(cut), number(ends))


def transactions(
    connection: Connection, slot: str, capture: str, *, after: str = "", up_to: str = ""
) -> Iterator[Transaction]:
    """As ``changes.transactions`` of a slot that begins where ``capture`` does, with what was put aside."""
    up_to = up_to or changes.now(connection)
    ends = end(connection, capture)
    first, last = number(after) if after else 0, number(up_to)
    if ends and first < number(ends):
        parser = Parser()
        for message in _messages(connection, capture):
            done = parser.feed(message)
            if done is not None and done.changes and first < number(done.end) <= last:
                yield done
        after = ends
    yield from changes.transactions(connection, slot, capture, after=after, up_to=up_to)


def drop(connection: Connection, open_: Sequence[str]) -> None:
    """What was put aside for captures that are not ``open_``; the tables, too, when nothing is left."""
    if not one(connection, _THERE):
        return
    with connection.transaction():
        connection.execute("DELETE FROM lastgood.early WHERE capture <> ALL(%s)", ([*open_],))
        connection.execute("DELETE FROM lastgood.early_ends WHERE capture <> ALL(%s)", ([*open_],))
        if not one(connection, "SELECT EXISTS (SELECT FROM lastgood.early_ends)"):
            connection.execute("DROP TABLE lastgood.early, lastgood.early_ends")


def _messages(connection: Connection, capture: str) -> Iterator[bytes]:
    """In pages: the connection is free between two of them."""
    last = -1
    while True:
        rows = connection.execute(
            "SELECT seq, message FROM lastgood.early WHERE capture = %s AND seq > %s ORDER BY seq LIMIT %s",
            (capture, last, PAGE),
        ).fetchall()
        for _, message in rows:
            yield bytes(message)
        if len(rows) < PAGE:
            return
        last = rows[-1][0]
