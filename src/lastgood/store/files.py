"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from lastgood.domain.errors import Cause, DriverError
from lastgood.domain.message import N_

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EEXIST}


def write_durably(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Have ``path`` (0600) hold ``content`` even after a power failure. Its directory must exist.

    With ``replace`` false raises FileExistsError when something is there. Raises OSError.
    """
    temporary = path.with_name(f".{path.name[:64]}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make it and what is missing above it, 0700 and durably; one that is there is left as it is."""
    missing = []
    above = directory
    while not above.exists():
        missing.append(above)
        above = above.parent
    for made in reversed(missing):
        made.mkdir(mode=0o700, exist_ok=True)
        sync_directory(made.parent)
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))


def file_error(error: OSError, path: Path) -> DriverError:
    """What the system said about ``path``, with its cause and the next thing to do."""
    if error.errno in _FULL:
        return DriverError(
            N_("disk full: {path} cannot be written"),
            todo=N_("Free space there (`df -h {directory}`), then do the same again: nothing was changed."),
            where=str(path),
            cause=Cause.DEPENDENCY_DOWN,
            path=str(path),
            directory=str(path.parent),
        )
    if error.errno in _FORBIDDEN:
        return DriverError(
            N_("not permitted: {path} ({detail})"),
            todo=N_("Run as the owner of {directory} (`ls -ld {directory}`), or make it writable."),
            where=str(path),
            cause=Cause.PERMISSION,
            path=str(path),
            directory=str(path.parent),
            detail=error.strerror or "",
        )
    return DriverError(
        N_("{path} cannot be used ({detail})"),
        todo=N_("Check the path, and the disk under {directory}."),
        where=str(path),
        cause=Cause.WRONG_PATH if error.errno in _WRONG else Cause.DEPENDENCY_DOWN,
        path=str(path),
        directory=str(path.parent),
        detail=error.strerror or str(error),
    )
