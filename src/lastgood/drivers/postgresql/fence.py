"""Databases closed, opened and renamed: the parts of a swap, done from another database of the server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psycopg
from psycopg import errors, sql

from lastgood.domain.errors import Cause, DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.postgresql import failures
from lastgood.drivers.postgresql.connection import Connection, Server, one
from lastgood.drivers.postgresql.scratch import copy_settings

MAINTENANCE = ("postgres", "template1")
PATIENCE = 10.0
WAIT = 20.0
"""Seconds; the server ends a patient session in less once its host is gone."""

_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('lastgood restore of ' || %s, 0))"

_SESSIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = %s AND pid NOT IN (%s, pg_backend_pid()) AND usesysid IS NOT NULL
"""
_STARTING = """
SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND mode = 'RowExclusiveLock' AND granted
AND classid = 'pg_database'::regclass AND objid = (SELECT oid FROM pg_database WHERE datname = %s)
AND pid <> pg_backend_pid()
"""
# A session that starts holds this lock from before it is asked whether it may come in until it is listed.
# Without the right to see others' statistics their kind is hidden. Only autovacuum has no user, and gives way
# by itself.


@contextlib.contextmanager
def maintenance(server: Server) -> Iterator[Connection]:
    """A session elsewhere on the server: a database can't be renamed from inside. One at a time works at
    restores of this database; the server forgets the lock when we die, and soon when our host does.

    Raises Rejected when another one does for longer than that takes.
    """
    places = [m for m in MAINTENANCE if m != server.database]
    for place in places:
        with contextlib.ExitStack() as inside:
            try:
                connection = inside.enter_context(server.at(place).patient_session())
            except DriverError:
                if place == places[-1]:
                    raise
                continue
            _lock(connection, server)
            yield connection
        return


def _lock(connection: Connection, server: Server) -> None:
    deadline = time.monotonic() + WAIT
    while not one(connection, _LOCK, server.database):
        if time.monotonic() > deadline:
            raise Rejected(
                N_("another restore of {address} is at work"),
                todo=N_("Wait until it is done, then look again: lastgood status"),
                where=server.spot.address,
                cause=Cause.TABLE_LOCK,
                address=server.spot.address,
            )
        time.sleep(0.05)


def open_again(admin: Connection, name: str) -> None:
    """One that is open is left alone."""
    if one(admin, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s AND NOT datallowconn)", name):
        _allow(admin, name, yes=True)


@contextlib.contextmanager
def closed(admin: Connection, name: str, *, but: int) -> Iterator[None]:
    """Nobody is in the database but the session ``but`` for as long as the block runs; an error opens it."""
    try:
        _allow(admin, name, yes=False)
        end_sessions(admin, name, but=but)
        yield
    except BaseException:
        # Giving up the restore tries again; what is worth telling is why it failed.
        with contextlib.suppress(psycopg.Error):
            admin.rollback()
            open_again(admin, name)
        raise


def end_sessions(admin: Connection, name: str, *, but: int = 0) -> None:
    """End every session of ``name`` but one, and wait until they are gone, those too that came in just before
    it was closed. Raises Rejected with how many stay.
    """
    deadline = time.monotonic() + PATIENCE
    while left := one(admin, _STARTING, name) or one(admin, _SESSIONS, name, but):
        if time.monotonic() > deadline:
            raise Rejected(
                N_("{count} sessions of database {name} do not end"),
                todo=N_("End what connects to it again and again (background workers), then try again."),
                where=name,
                cause=Cause.TABLE_LOCK,
                count=left,
                name=name,
            )
        time.sleep(0.005)


def rename(admin: Connection, server: Server, copy: str, failed: str) -> float:
    """The copy takes the name, the live database the name ``failed``, both or neither; seconds it took.

    Raises OutcomeUnknown when the answer is lost; psycopg.Error leaves the transaction open, ``closed`` ends
    it.
    """
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    name, other, old = (sql.Identifier(n) for n in (server.database, copy, failed))
    deadline = time.monotonic() + PATIENCE
    while True:
        begun = time.monotonic()
        try:
            admin.execute("BEGIN")
            admin.execute(statement.format(name, old))
            admin.execute(statement.format(other, name))
            break
        except errors.ObjectInUse:
            # A session that was ended takes a moment to be gone.
            admin.execute("ROLLBACK")
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    try:
        admin.execute("COMMIT")
    except psycopg.Error as error:
        if failures.lost(error):
            raise failures.outcome_unknown(error, server.spot, "restore") from None
        raise
    return time.monotonic() - begun


def dress(admin: Connection, server: Server, copy: str) -> None:
    """What belongs to a database and not to its content: owner, grants, limit, comment, settings."""
    row = admin.execute(
        "SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'), "
        "(SELECT datdba FROM pg_database WHERE datname = %s) = datdba FROM pg_database WHERE datname = %s",
        (copy, server.database),
    ).fetchone()
    assert row is not None, "the database is there"
    owner, limit, comment, owned = row
    subject = sql.Identifier(copy)
    with admin.transaction():
        if not owned:
            admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(subject, sql.Identifier(owner)))
        admin.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(subject, sql.Literal(limit)))
        admin.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(subject, sql.Literal(comment)))
        _grant(admin, server.database, copy)
        copy_settings(admin, server.database, copy)


def _grant(admin: Connection, source: str, target: str) -> None:
    """Those of ``source`` and no others; none at all means the default ones."""
    subject = sql.Identifier(target)
    roles = admin.execute(
        "SELECT DISTINCT pg_get_userbyid(nullif(a.grantee, 0)) FROM pg_database d, aclexplode(d.datacl) a "
        "WHERE d.datname = %s",
        (target,),
    ).fetchall()
    for (role,) in roles:
        whom = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(subject, whom))
    rows = admin.execute(
        "SELECT pg_get_userbyid(nullif(a.grantee, 0)), a.privilege_type, a.is_grantable "
        "FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a "
        "WHERE d.datname = %s",
        (source,),
    ).fetchall()
    for role, privilege, grantable in rows:
        whom = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
        admin.execute(
            sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(privilege), subject, whom, sql.SQL(" WITH GRANT OPTION" if grantable else "")
            )
        )


def _allow(admin: Connection, name: str, *, yes: bool) -> None:
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    admin.execute(statement.format(sql.Identifier(name), sql.Literal(yes)))
