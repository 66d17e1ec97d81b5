"""What the database and the file system say, in our own errors: mapped here and nowhere else."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from lastgood.domain.errors import Cause, Conflict, DriverError, InvalidInput, LastgoodError
from lastgood.domain.message import N_
from lastgood.store.files import file_error


@contextmanager
def reported(file: Path) -> Iterator[None]:
    """Turns errors of the database ``file`` into ours; everything else passes as it is.

    Raises Conflict (busy, or a row that is there already), DriverError (read-only, damaged, full).
    """
    try:
        yield
    except DBAPIError as error:
        mapped = _mapped(error.orig, file)
        if mapped is None:
            raise
        mapped.own_state = True
        raise mapped from error
    except sqlite3.Error as error:
        mapped = _mapped(error, file)
        if mapped is None:
            raise
        mapped.own_state = True
        raise mapped from error


def _mapped(error: BaseException | None, file: Path) -> LastgoodError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return busy(file)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return read_only(file)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(file, str(error))
        case sqlite3.SQLITE_FULL:
            return file_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), file)
        case sqlite3.SQLITE_CANTOPEN:
            return _cannot_open(file)
        case sqlite3.SQLITE_IOERR:
            return _failing(file, error)
        case sqlite3.SQLITE_CONSTRAINT:
            return Conflict(
                N_("the state database refused what contradicts it: {detail}"),
                todo=N_("Look at the present state with `lastgood status` and try again."),
                where=str(file),
                detail=str(error),
            )
        case sqlite3.SQLITE_ERROR if str(error).startswith(("no such table", "no such column")):
            return damaged(file, str(error))
        case _:
            return None


def busy(file: Path) -> Conflict:
    return Conflict(
        N_("the state database is busy: another process has been writing for too long"),
        todo=N_("Find it with `fuser -v {file}`; when it is stuck, end it and try again: nothing is lost."),
        where=str(file),
        cause=Cause.TABLE_LOCK,
        file=str(file),
    )


def read_only(file: Path) -> DriverError:
    return DriverError(
        N_("the state database can be read but not written"),
        todo=N_(
            "Run as the owner of {file} or remount its file system for writing "
            "(`ls -l {file}`, `lsattr {file}`, `findmnt -T {file}`). Nothing was changed."
        ),
        where=str(file),
        cause=Cause.PERMISSION,
        file=str(file),
    )


def damaged(file: Path, detail: str) -> DriverError:
    """Says what is lost and what is not; nothing is recreated behind anybody's back."""
    return DriverError(
        N_("the state database is damaged ({detail})"),
        todo=N_(
            "It was left as it is. What it held is the history: rollouts, journal, audit and the list of "
            "restore points. The content of every release is in plain files beside it, under "
            "{directory}/objects. Put back a backup of {file}; or move the directory aside with "
            "`mv {directory} {directory}.damaged` and adopt the units again."
        ),
        where=str(file),
        cause=Cause.WRONG_PATH,
        detail=detail,
        file=str(file),
        directory=str(file.parent),
    )


def vanished(file: Path) -> DriverError:
    return DriverError(
        N_("the state database is gone, though there was one in {directory}"),
        todo=N_(
            "Put back {file} (with its -wal file, if any) from a backup. The content of every release, under "
            "{directory}/objects, is untouched. To begin anew, move the directory aside with "
            "`mv {directory} {directory}.old` and adopt the units again."
        ),
        where=str(file),
        cause=Cause.WRONG_PATH,
        file=str(file),
        directory=str(file.parent),
    )


def newer(file: Path, revision: str) -> Conflict:
    return Conflict(
        N_("the state database has schema {revision}, which this version of lastgood does not know"),
        todo=N_("Use the version that wrote it, or a newer one: `pip install --upgrade lastgood`."),
        where=str(file),
        revision=revision,
    )


def older(file: Path, revision: str) -> Conflict:
    return Conflict(
        N_("the state database has schema {revision}, older than this version of lastgood"),
        todo=N_("Open it once for writing to bring it up to date, for example with `lastgood run`."),
        where=str(file),
        revision=revision,
    )


def not_ours(file: Path) -> InvalidInput:
    return InvalidInput(
        N_("{file} is a database, but not one of lastgood's"),
        todo=N_("Name another state directory."),
        where=str(file),
        cause=Cause.WRONG_PATH,
        file=str(file),
    )


def absent(file: Path) -> InvalidInput:
    return InvalidInput(
        N_("there is no state in {directory} yet"),
        todo=N_("Check the path; the first `lastgood adopt` or `lastgood deploy` makes it."),
        where=str(file),
        cause=Cause.WRONG_PATH,
        directory=str(file.parent),
    )


def _cannot_open(file: Path) -> LastgoodError:
    if not file.exists():
        return vanished(file)
    if not os.access(file, os.W_OK) or not os.access(file.parent, os.W_OK):
        return read_only(file)
    return _failing(file, None)


def _failing(file: Path, error: BaseException | None) -> DriverError:
    return DriverError(
        N_("the state database cannot be read or written ({detail})"),
        todo=N_("Check the disk under {file}: free space, quota, file size limit, and the kernel log."),
        where=str(file),
        cause=Cause.DEPENDENCY_DOWN,
        file=str(file),
        detail=str(error) if error is not None else "unable to open",
    )
