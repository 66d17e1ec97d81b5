"""The one place where what SQLite says becomes an error of ours."""

from __future__ import annotations

import sqlite3

from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.sql import failures
from lastgood.sql.failures import Spot

_PRIMARY = 0xFF
"""The bits of an extended code that are the primary one."""


def code(error: BaseException) -> int:
    """The library's primary code of an error, 0 when it has none."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY


def locked(error: BaseException) -> bool:
    """Whether another connection was in the way and trying again makes sense."""
    return code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translate(error: BaseException, spot: Spot) -> DriverError:
    """What to raise for ``error``; its transaction is rolled back."""
    if locked(error):
        return table_lock(str(error), "", spot)
    kind = code(error)
    if kind in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return _damaged(error, spot)
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return failures.rights(str(error), spot, right="write to the file and to its folder")
    todo = N_("Mend the statement, then try again.")
    if kind == sqlite3.SQLITE_INTERRUPT:
        todo = N_("Make it faster or raise 'statement_timeout', then try again.")
    elif kind == sqlite3.SQLITE_FULL:
        todo = N_("Free space where the database file is, then try again.")
    elif kind == sqlite3.SQLITE_IOERR:
        todo = N_("See that the disk of the database file works, then try again.")
    script = kind not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
    return failures.refused(str(error), spot, todo=todo, script=script)


def outcome_unknown(error: BaseException, spot: Spot, name: str) -> OutcomeUnknown:
    """The disk failed while the transaction was committed."""
    return OutcomeUnknown(
        N_("whether {name} was committed is not known: {error}"),
        todo=N_("Look at the database before doing anything else; calling again does."),
        where=spot.where,
        name=name,
        error=str(error),
    )


def table_lock(error: str, blockers: str, spot: Spot) -> Rejected:
    return failures.table_lock(error, blockers, spot, listing=f"lsof {spot.address}")


def no_file(path: str) -> Rejected:
    return Rejected(
        N_("there is no database file {path}"),
        todo=N_("Correct the url, or make an empty database: touch {path}"),
        where=path,
        cause=Cause.WRONG_PATH,
        path=path,
    )


def _damaged(error: BaseException, spot: Spot) -> Rejected:
    return Rejected(
        N_("{address} is no database, or damaged: {error}"),
        todo=N_("Check the url; a damaged file is replaced by its newest snapshot, by hand."),
        where=spot.address,
        cause=Cause.WRONG_PATH,
        address=spot.address,
        error=str(error),
    )
