"""The one place where what PostgreSQL says becomes an error of ours."""

from __future__ import annotations

import re

import psycopg

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.sql import failures
from lastgood.sql.failures import Spot

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK = "40P01"
SERIALIZATION = "40001"
RIGHTS = "42501"
TIMED_OUT = "57014"
NOT_IN_TRANSACTION = "25001"
READ_ONLY = "25006"
DISK_FULL = "53100"
NOT_IN_STATE = "55000"

_DENIED = re.compile(r"permission denied (?:for|to) (?P<what>.+)")
_OWNER = re.compile(r"must be (?P<what>.+)")
_LOGIN = ("password authentication failed", "no password supplied", "no pg_hba.conf entry", "not permitted")


def lost(error: psycopg.Error) -> bool:
    """Whether the connection broke, so that the server's answer, if any, never came."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return state[:2] == "08" or state in ("57P01", "57P02", "57P03")


def locked(error: psycopg.Error) -> bool:
    """Whether another session was in the way and trying again makes sense."""
    return error.sqlstate in (LOCK_NOT_AVAILABLE, DEADLOCK, SERIALIZATION)


def text(error: psycopg.Error) -> str:
    """The primary message only: the detail can hold customers' values."""
    if error.diag.message_primary:
        return error.diag.message_primary
    lines = str(error).strip().splitlines() or ["no answer"]
    return lines[-1].strip(" -") if lines[0].startswith("Multiple connection attempts") else lines[0]


def translate(error: psycopg.Error, spot: Spot) -> DriverError:
    """What to raise for ``error``; a broken connection is Unreachable (the transaction is gone with it)."""
    state = error.sqlstate or ""
    if lost(error):
        return _connection(error, spot)
    if locked(error):
        return table_lock(text(error), "", spot)
    if state == RIGHTS:
        return _rights(error, spot)
    if state in ("53300", "53400"):
        return failures.down(text(error), spot)
    if state[:2] == "28":
        return _login(error, spot)
    if state == "3D000":
        return failures.no_database(text(error), spot)
    return _refused(error, spot)


def outcome_unknown(error: psycopg.Error, spot: Spot, name: str) -> OutcomeUnknown:
    """The answer to COMMIT never came."""
    return OutcomeUnknown(
        N_("the answer to the commit of {name} was lost: {error}"),
        todo=N_("Look at the revision table before doing anything else; calling again does."),
        where=spot.address,
        cause=Cause.DEPENDENCY_DOWN,
        name=name,
        error=text(error),
    )


def table_lock(error: str, blockers: str, spot: Spot) -> Rejected:
    return failures.table_lock(error, blockers, spot, listing="pg_stat_activity")


def _connection(error: psycopg.Error, spot: Spot) -> DriverError:
    """A refused log-in has no code in libpq: only its English text tells it from a dead server."""
    message = str(error)
    if any(part in message for part in _LOGIN) or re.search(r'role "[^"]*" does not exist', message):
        return _login(error, spot)
    if re.search(r'database "[^"]*" does not exist', message):
        return failures.no_database(text(error), spot)
    if 'permission denied for database "' in message:
        return _rights(error, spot)
    return failures.down(text(error), spot)


def _login(error: psycopg.Error, spot: Spot) -> Rejected:
    todo = N_("Check the user in the url, the secret in 'password', and the server's pg_hba.conf.")
    return failures.login(text(error), spot, todo=todo)


def missing_right(message: str, statement: str, *, inside: bool) -> str:
    """The right that is missing, as far as message and statement tell: ``CREATE on schema public``."""
    owner = _OWNER.search(message)
    if owner:
        return owner["what"]
    denied = _DENIED.search(message)
    if not denied:
        return message
    words = statement.upper().split()
    verb = words[0] if words else ""
    what = denied["what"]
    if what.startswith("schema"):
        verb = "CREATE" if verb in ("CREATE", "ALTER") else "USAGE"
    elif what.startswith("table") and words[:2] == ["CREATE", "TRIGGER"]:
        # Whoever may make triggers but does not own the table can't keep them on.
        return f"owner of {what}"
    elif what.startswith("table") and verb in ("CREATE", "ALTER"):
        verb = "REFERENCES"
    elif what.startswith("function"):
        verb = "EXECUTE"
    elif what.startswith("database"):
        # Once inside, the only right on a database that can be missing is that of making a schema.
        verb = "CREATE" if inside else "CONNECT"
    elif what.startswith("create database"):
        return "CREATEDB"
    elif verb == "WITH" or not verb:
        verb = "access"
    return f"{verb} on {what}"


def _rights(error: psycopg.Error, spot: Spot) -> Rejected:
    message = text(error)
    return failures.rights(
        message, spot, right=missing_right(message, spot.statement, inside=error.sqlstate is not None)
    )


def _refused(error: psycopg.Error, spot: Spot) -> Rejected:
    state = error.sqlstate or ""
    todo = N_("Mend the statement; the database is as it was before.")
    if state == TIMED_OUT:
        todo = N_("Make it faster or raise 'statement_timeout'; the database is as it was before.")
    elif state == NOT_IN_TRANSACTION:
        todo = N_("It can't run in a transaction: do it by hand, outside the migrations.")
    elif state == READ_ONLY:
        todo = N_("Point the url at the primary server: this one only reads.")
    elif state == DISK_FULL:
        todo = N_("Free space on the database server, then try again.")
    return failures.refused(text(error), spot, todo=todo, script=state not in (READ_ONLY, DISK_FULL))
