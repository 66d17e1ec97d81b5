"""Databases beside the live one: made like it, filled from a dump, and dropped whatever happens."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from psycopg import errors, sql

from lastgood.domain.errors import DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import publication
from lastgood.drivers.postgresql.binaries import Binaries
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.sql.sealing import Dump

Fill = Callable[[Server], None]
"""Fills the empty database of a server."""

Size = Callable[[Connection], int]
"""Bytes of a copy, as the live database tells."""

PREFIX = "lastgood_scratch_"

# Values of these are lists of names and are stored as they must be written.
_LISTS = ("search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries")


@contextlib.contextmanager
def scratch(server: Server, dump: Dump, binaries: Binaries) -> Iterator[Server]:
    """A scratch database loaded from ``dump``. Raises DriverError; leaves nothing behind."""
    with beside(server, lambda made: load(made, dump, binaries)) as made:
        yield made


@contextlib.contextmanager
def beside(server: Server, fill: Fill, size: Size | None = None) -> Iterator[Server]:
    """The same, filled by ``fill``, with as much as ``size`` says; None: about what the live one holds."""
    name = f"{PREFIX}{int(time.time()):08x}_{secrets.token_hex(4)}"
    with server.session() as connection:
        # The server forgets this lock when we die, and then anybody may drop what we made.
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
        remove_leftovers(connection)
        check_room(connection, server, size)
        try:
            make_like(connection, server, name, "lastgood scratch")
            # It holds what customers wrote, and none of the live one's rights. TEMPORARY stays: scripts that
            # take another role have it there too.
            connection.execute(
                sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
            )
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(name))
            )
            fill(server.at(name))
            yield server.at(name)
        finally:
            _drop(connection, server, name)


def load(server: Server, dump: Dump, binaries: Binaries) -> None:
    """Fill the empty database of ``server``. Left out are subscriptions, because a copy must not subscribe,
    and the publication of a capture, which is that of the live database.
    """
    with dump.opened() as source:
        binaries.run("pg_restore", ["--exit-on-error", "--no-subscriptions"], server, source=source)
    with server.session() as connection:
        publication.drop(connection, publication.open_captures(connection))


def make_like(connection: Connection, server: Server, name: str, comment: str) -> None:
    """An empty database with owner, encoding, locale, settings and comment as the live one's."""
    major = connection.info.server_version // 10000
    provider = "datlocprovider::text" if major >= 15 else "'c'"
    locale = "datlocale" if major >= 17 else "daticulocale" if major >= 15 else "''"
    row = connection.execute(
        sql.SQL(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype, pg_get_userbyid(datdba), {}, {} "
            "FROM pg_database WHERE datname = %s"
        ).format(sql.SQL(provider), sql.SQL(locale)),
        (server.database,),
    ).fetchone()
    assert row is not None, "we are connected to it"
    encoding, collate, ctype, owner, kind, locale_name = row
    clause = sql.Composed([])
    if kind in ("i", "b"):
        words = ("icu", "ICU_LOCALE") if kind == "i" else ("builtin", "BUILTIN_LOCALE")
        clause = sql.SQL(" LOCALE_PROVIDER {} {} {}").format(
            sql.SQL(words[0]), sql.SQL(words[1]), sql.Literal(locale_name)
        )
    connection.execute(
        sql.SQL(
            "CREATE DATABASE {} TEMPLATE template0 OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}{}"
        ).format(
            sql.Identifier(name),
            sql.Identifier(owner),
            sql.Literal(encoding),
            sql.Literal(collate),
            sql.Literal(ctype),
            clause,
        )
    )
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment))
    )
    copy_settings(connection, server.database, name)


def copy_settings(connection: Connection, source: str, target: str) -> None:
    """Settings belong to the database's OID, so a copy has none of them; what it has goes."""
    own = connection.execute(
        "SELECT r.rolname FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase "
        "LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE d.datname = %s",
        (target,),
    ).fetchall()
    for (role,) in own:
        connection.execute(sql.SQL("ALTER {} RESET ALL").format(_subject(target, role)))
    rows = connection.execute(
        "SELECT r.rolname, unnest(s.setconfig) FROM pg_db_role_setting s "
        "JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole "
        "WHERE d.datname = %s",
        (source,),
    ).fetchall()
    for role, setting in rows:
        name, _, value = setting.partition("=")
        right = sql.SQL(value.replace('""', "''")) if name in _LISTS else sql.Literal(value)
        connection.execute(
            sql.SQL("ALTER {} SET {} = {}").format(
                _subject(target, role), sql.SQL(".").join(sql.Identifier(p) for p in name.split(".")), right
            )
        )


def _subject(database: str, role: str | None) -> sql.Composed:
    subject = sql.SQL("DATABASE {}").format(sql.Identifier(database))
    return subject if role is None else sql.SQL("ROLE {} IN ").format(sql.Identifier(role)) + subject


def check_room(connection: Connection, server: Server, size: Size | None = None) -> None:
    """Refuse a second database that would fill the server's disk, where we can see that disk."""
    free = free_space(connection, server)
    if free is None:
        return
    whole = "SELECT pg_database_size(current_database())"
    need = int(one(connection, whole)) if size is None else size(connection)
    need += need // 5
    if free < need:
        raise Rejected(
            N_("a copy of {address} needs about {need} MiB, and {free} MiB are free on the server"),
            todo=N_("Free space on the server, then try again."),
            where=server.spot.address,
            address=server.spot.address,
            need=need >> 20,
            free=free >> 20,
        )


def free_space(connection: Connection, server: Server) -> int | None:
    """Bytes on the server's disk, where it is this machine's; no SQL tells it."""
    if server.settings.host not in ("localhost", "127.0.0.1", "::1") and server.settings.host[:1] != "/":
        return None
    try:
        directory = Path(str(one(connection, "SELECT current_setting('data_directory')")))
    except errors.InsufficientPrivilege:
        return None
    return shutil.disk_usage(directory).free if directory.is_dir() else None


def remove_leftovers(connection: Connection) -> None:
    """Drop scratch databases of ours whose maker died; with it go tools of ours that still fill it."""
    rows = connection.execute(
        "SELECT datname FROM pg_database WHERE datname ~ %s "
        "AND coalesce(shobj_description(oid, 'pg_database'), 'lastgood scratch') = 'lastgood scratch'",
        (f"^{PREFIX}[0-9a-f]{{8}}_[0-9a-f]{{8}}$",),
    ).fetchall()
    for (name,) in rows:
        if one(connection, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", name):
            with contextlib.suppress(errors.ObjectInUse, errors.InvalidCatalogName):
                drop(connection, name)
            connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))


def drop(connection: Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _drop(connection: Connection, server: Server, name: str) -> None:
    """On a session of its own when ours broke; a server that is down keeps it for ``remove_leftovers``."""
    if not connection.closed:
        drop(connection, name)
        return
    with contextlib.suppress(DriverError), server.session() as another:
        drop(another, name)
