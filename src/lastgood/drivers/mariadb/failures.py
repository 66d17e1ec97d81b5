"""The one place where what MariaDB says becomes an error of ours."""

from __future__ import annotations

import re

import pymysql

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.sql import failures
from lastgood.sql.failures import Spot

# Numbers of the server's errors (the same in MySQL) and, from 2000 on, of the client's.
LOCK_WAIT = 1205
DEADLOCK = 1213
# A metadata lock that was not got has the number of any interrupted statement in some versions.
LOCK_NOWAIT = 3572
LOCKED = frozenset({LOCK_WAIT, DEADLOCK, LOCK_NOWAIT})
TIMED_OUT = frozenset({1969, 3024})
CONNECTION_LOST = frozenset({1053, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 2055})
TOO_MANY = frozenset({1040, 1203, 1226})
NO_LOGIN = frozenset({1045, 1251, 1524, 1698, 1862, 2059, 4151})
NO_DATABASE = frozenset({1049})
RIGHTS = frozenset({1044, 1095, 1142, 1143, 1227, 1370, 1410, 1419})
READ_ONLY = frozenset({1290, 1792, 1836})
# The log can't be read from the position that was asked for.
NO_SUCH_LOG = 1236
DISK_FULL = frozenset({1021, 1114, 28})
# The server ends a session whose query was interrupted by KILL with these.
KILLED = frozenset({1317, 1927})

_DATABASE_RIGHT = re.compile(r"Access denied for user .* to database '(?P<database>[^']*)'")
_TABLE_RIGHT = re.compile(r"(?P<right>.+?) command denied to user .* for (?:table|column) (?P<what>.+)")
_ROUTINE_RIGHT = re.compile(r"(?P<right>.+?) command denied to user .* for routine (?P<what>.+)")
_GLOBAL_RIGHT = re.compile(r"need \(at least one of\) the (?P<right>.+?) privilege")


def number(error: BaseException) -> int:
    """The server's or client's number of an error, 0 when it has none."""
    first = error.args[0] if error.args else 0
    return first if isinstance(first, int) else 0


def lost(error: BaseException) -> bool:
    """Whether the connection broke, so that the server's answer, if any, never came."""
    code = number(error)
    if isinstance(error, (pymysql.InterfaceError, OSError)) or code in CONNECTION_LOST:
        return True
    return isinstance(error, pymysql.OperationalError) and 2000 <= code < 3000


def locked(error: BaseException) -> bool:
    """Whether another session was in the way and trying again makes sense."""
    return number(error) in LOCKED


def text(error: BaseException) -> str:
    """The server's sentence, without its number."""
    if isinstance(error, pymysql.Error) and len(error.args) > 1:
        return str(error.args[1])
    return str(error) or "no answer"


def translate(error: BaseException, spot: Spot) -> DriverError:
    """What to raise for ``error``; with a broken connection an open transaction is gone."""
    code = number(error)
    # Before all others: the log-in's own numbers come with a connection that ends.
    if code in NO_LOGIN:
        return _login(error, spot)
    if code in NO_DATABASE:
        return failures.no_database(text(error), spot)
    if code in TOO_MANY or lost(error):
        return failures.down(text(error), spot)
    if locked(error):
        return table_lock(text(error), "", spot)
    if code in RIGHTS:
        return _rights(error, spot)
    return _refused(error, spot)


def outcome_unknown(error: BaseException, spot: Spot, name: str) -> OutcomeUnknown:
    """The answer to a statement that changes something never came."""
    return OutcomeUnknown(
        N_("the answer to a statement of {name} was lost: {error}"),
        todo=N_("Look at the database before doing anything else; calling again does."),
        where=spot.where,
        cause=Cause.DEPENDENCY_DOWN,
        name=name,
        error=text(error),
    )


def table_lock(error: str, blockers: str, spot: Spot) -> Rejected:
    return failures.table_lock(error, blockers, spot, listing="SHOW PROCESSLIST")


def _login(error: BaseException, spot: Spot) -> Rejected:
    todo = N_("Check the user in the url, the host it may come from, and the secret in 'password'.")
    return failures.login(text(error), spot, todo=todo)


def missing_right(message: str, statement: str) -> str:
    """The right that is missing, as far as message and statement tell: ``ALTER on `shop`.`orders```."""
    found = _TABLE_RIGHT.search(message) or _ROUTINE_RIGHT.search(message)
    if found:
        return f"{found['right']} on {found['what']}"
    everywhere = _GLOBAL_RIGHT.search(message)
    if everywhere:
        return f"{everywhere['right']} on *.*"
    database = _DATABASE_RIGHT.search(message)
    if database:
        words = statement.upper().split()
        right = "LOCK TABLES" if words[:2] == ["LOCK", "TABLES"] else words[0] if words else "access"
        return f"{right} on `{database['database']}`.*"
    return message


def _rights(error: BaseException, spot: Spot) -> Rejected:
    message = text(error)
    return failures.rights(message, spot, right=missing_right(message, spot.statement))


def _refused(error: BaseException, spot: Spot) -> Rejected:
    code = number(error)
    todo = N_("Mend the statement, then try again.")
    if code in TIMED_OUT:
        todo = N_("Make it faster or raise 'statement_timeout', then try again.")
    elif code in READ_ONLY:
        todo = N_("Point the url at the primary server: this one only reads.")
    elif code in DISK_FULL:
        todo = N_("Free space on the database server, then try again.")
    return failures.refused(text(error), spot, todo=todo, script=code not in READ_ONLY | DISK_FULL)
