"""Databases beside the live one: made like it, filled from a dump, and dropped whatever happens."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from lastgood.domain.errors import DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.mariadb import contents
from lastgood.drivers.mariadb.binaries import Binaries
from lastgood.drivers.mariadb.connection import Connection, Server, one, quoted, rows, run
from lastgood.drivers.mariadb.fingerprint import EVENT, TABLE, TRIGGER
from lastgood.drivers.mariadb.scan import split
from lastgood.sql.listing import Listing
from lastgood.sql.sealing import Dump

PREFIX = "lastgood_scratch_"
LEFTOVER_AGE = 3600.0
_NAME = re.compile(rf"^{PREFIX}(?P<at>[0-9a-f]{{8}})_[0-9a-f]{{8}}$")


@contextlib.contextmanager
def scratch(server: Server, dump: Dump, binaries: Binaries) -> Iterator[Server]:
    """A scratch database loaded from ``dump``. Raises DriverError; leaves nothing behind."""
    name = f"{PREFIX}{int(time.time()):08x}_{secrets.token_hex(4)}"
    with server.session() as connection:
        remove_leftovers(connection)
        check_room(connection, server)
        try:
            make_like(connection, name)
            binaries.load(dump, server.at(name))
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


def names_database(text: str, database: str) -> bool:
    """Whether a name in ``text`` begins with that of the database."""
    return any(database in statement.before_dots for statement in split(text, ""))


def check_room(connection: Connection, server: Server) -> None:
    """Refuse a second database that would fill the server's disk, where we can see that disk."""
    if not server.settings.socket and server.settings.host not in ("localhost", "127.0.0.1", "::1"):
        return
    directory = Path(str(one(connection, "SELECT @@datadir")))
    if not directory.is_dir():
        return
    need = contents.size(connection)
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
    """Drop scratch databases of ours that a crash left more than an hour ago; one in use stays."""
    used = {row[0] for row in rows(connection, "SELECT DB FROM information_schema.PROCESSLIST")}
    for (name,) in rows(connection, "SHOW DATABASES LIKE %s", PREFIX.replace("_", r"\_") + "%"):
        match = _NAME.match(name)
        if match and name not in used and time.time() - int(match["at"], 16) > LEFTOVER_AGE:
            run(connection, f"DROP DATABASE IF EXISTS {quoted(name)}")


def _drop(server: Server, name: str) -> None:
    """On a session of its own, because ours may be broken; a server that is down keeps it for
    ``remove_leftovers``.
    """
    with contextlib.suppress(DriverError), server.session() as connection:
        run(connection, f"DROP DATABASE IF EXISTS {quoted(name)}")
