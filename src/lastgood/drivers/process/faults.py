"""What the operating system refuses, said in the product's own errors; mapped here and nowhere else."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.message import N_

FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_SUCH_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


@contextmanager
def mapped(place: Path) -> Iterator[None]:
    """Turn OSError into Rejected, with the cause where it is one of the classic ones."""
    try:
        yield
    except OSError as error:
        path = str(error.filename or place)
        reason = error.strerror or str(error)
        if error.errno in FULL:
            raise Rejected(
                N_("the disk is full at {path}"),
                todo=N_("Free space on that file system (or raise the quota), then run it again."),
                where=path,
                path=path,
            ) from error
        cause, todo = None, N_("Look at the file system and its log, then run it again.")
        if error.errno in DENIED:
            cause, todo = Cause.PERMISSION, N_("Give the user that runs lastgood the right to write there.")
        elif error.errno in NO_SUCH_PLACE:
            cause, todo = Cause.WRONG_PATH, N_("Correct the setting root, or create its parent directory.")
        raise Rejected(
            N_("{path} can't be used: {reason}"), todo=todo, where=path, cause=cause, path=path, reason=reason
        ) from error
