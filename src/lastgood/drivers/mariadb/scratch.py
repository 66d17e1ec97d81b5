"""Databases beside the live one: made like it, filled from a dump, and dropped whatever happens."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql

from lastgood.domain.errors import DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import contents, failures
from lastgood.drivers.mariadb.binaries import Binaries
from lastgood.drivers.mariadb.connection import PATIENCE, Connection, Server, one, quoted, rows, run
from lastgood.drivers.mariadb.fingerprint import EVENT, TABLE, TRIGGER
from lastgood.drivers.mariadb.scan import split
from lastgood.sql.listing import Listing
from lastgood.sql.sealing import Dump

PREFIX = "lastgood_scratch_"
_NAME = re.compile(rf"^{PREFIX}[0-9a-f]{{8}}_[0-9a-f]{{8}}$")

_SYSTEM = frozenset({"information_schema", "performance_schema", "mysql", "sys"})
_WRITING = frozenset({TRIGGER, "procedure", "function"})

Fill = Callable[[Server], None]
"""Fills the empty database of a server."""
Size = Callable[[Connection], int]
"""Bytes that a copy will take, as the live database tells."""


@contextlib.contextmanager
def scratch(server: Server, dump: Dump, binaries: Binaries) -> Iterator[Server]:
    """A scratch database loaded from ``dump``. Raises DriverError; leaves nothing behind."""
    with beside(server, lambda made: binaries.load(dump, made)) as made:
        yield made


@contextlib.contextmanager
def beside(server: Server, fill: Fill, size: Size | None = None) -> Iterator[Server]:
    """The same, filled by ``fill``, with as much as ``size`` says; None: about what the live one holds."""
    name = f"{PREFIX}{int(time.time()):08x}_{secrets.token_hex(4)}"
    with server.session() as connection:
        run(connection, f"SET SESSION wait_timeout = {PATIENCE}")
        # The server forgets this lock when we die, and then anybody may drop what we made.
        run(connection, "SELECT GET_LOCK(%s, 0)", name)
        remove_leftovers(connection)
        check_room(connection, server, size)
        try:
            make_like(connection, name)
            fill(server.at(name))
            yield server.at(name)
        finally:
            _drop(server, name)


def make_like(connection: Connection, name: str) -> None:
    """An empty database with character set and collation as the present one's."""
    charset, collation = rows(connection, "SELECT @@character_set_database, @@collation_database")[0]
    run(connection, f"CREATE DATABASE {quoted(name)} CHARACTER SET {charset} COLLATE {collation}")


def refuse_programs_of(database: str, listing: Listing, server: Server) -> None:
    """Refuse a copy whose own programs would write into the live database: they name it."""
    for (kind, name), part in sorted(listing.items()):
        if kind in (TABLE, EVENT) or (part.parent and kind != TRIGGER):
            continue
        if names_database(part.definition, database):
            raise Rejected(
                N_("the {kind} {name} names its database: in a copy it would reach the live one"),
                todo=N_("Leave the database's name out of it."),
                where=server.spot.address,
                kind=kind,
                name=name,
            )


def refuse_programs_outside(listing: Listing, server: Server) -> None:
    """Refuse a copy in which writing would reach another database: a trigger or a routine names it."""
    with server.session() as connection:
        there = {str(name) for (name,) in rows(connection, "SHOW DATABASES")} - _SYSTEM
    there -= {name for kind, name in listing if kind == TABLE}
    for (kind, name), part in sorted(listing.items()):
        if kind not in _WRITING:
            continue
        named = sorted(database for database in there if names_database(part.definition, database))
        if named:
            raise Rejected(
                N_("the {kind} {name} names the database {database}: a journey on a copy could write there"),
                todo=N_("Leave the journey.sql out, or the name of that database."),
                where=server.spot.address,
                kind=kind,
                name=name,
                database=named[0],
            )


def names_database(text: str, database: str) -> bool:
    """Whether a name in ``text`` begins with that of the database."""
    return any(database in statement.before_dots for statement in split(text, ""))


def check_room(connection: Connection, server: Server, size: Size | None = None) -> None:
    """Refuse a second database that would fill the server's disk, where we can see that disk."""
    if not server.settings.socket and server.settings.host not in ("localhost", "127.0.0.1", "::1"):
        return
    directory = Path(str(one(connection, "SELECT @@datadir")))
    if not directory.is_dir():
        return
    need = contents.size(connection) if size is None else size(connection)
    need += need // 5
    free = shutil.disk_usage(directory).free
    if free < need:
        raise Rejected(
            N_("a copy of {address} needs about {need} MiB, and {free} MiB are free on the server"),
            todo=N_("Free space on the server, then try again."),
            where=server.spot.address,
            address=server.spot.address,
            need=need >> 20,
            free=free >> 20,
        )


def remove_leftovers(connection: Connection) -> None:
    """Drop scratch databases of ours whose maker died. One that still is filled or read by a tool of a dead
    one is left to the next.
    """
    for (name,) in rows(connection, "SHOW DATABASES LIKE %s", PREFIX.replace("_", r"\_") + "%"):
        if not _NAME.match(name) or one(connection, "SELECT GET_LOCK(%s, 0)", name) != 1:
            continue
        try:
            run(connection, f"DROP DATABASE IF EXISTS {quoted(name)}")
        except pymysql.Error as error:
            if failures.lost(error):
                raise
        finally:
            run(connection, "SELECT RELEASE_LOCK(%s)", name)


def _drop(server: Server, name: str) -> None:
    """On a session of its own, because ours may be broken; a server that is down keeps it for
    ``remove_leftovers``.
    """
    with contextlib.suppress(DriverError), server.session() as connection:
        run(connection, f"DROP DATABASE IF EXISTS {quoted(name)}")
