"""What the operating system refuses, said in the product's own errors; mapped here and nowhere else."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lastgood.domain.errors import Cause, InvalidInput, Rejected
from lastgood.domain.message import N_

FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_SUCH_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


@contextmanager
def mapped(place: Path, missing: Callable[[], int], current: Callable[[], str]) -> Iterator[None]:
    """Turn OSError into Rejected. ``missing`` answers how many bytes lack when the disk is full."""
    try:
        yield
    except OSError as error:
        raise _rejected(error, place, missing, current) from error


def _rejected(
    error: OSError, place: Path, missing: Callable[[], int], current: Callable[[], str]
) -> Rejected:
    path = str(error.filename or place)
    if error.errno in FULL:
        return Rejected(
            N_("the disk is full at {path}: {missing} bytes more are needed; current is still {current}"),
            todo=N_("Free space on that file system (or raise the quota), then run it again."),
            where=path,
            path=path,
            missing=missing(),
            current=current() or "-",
        )
    if error.errno in DENIED:
        return Rejected(
            N_("permission denied at {path}: {reason}"),
            todo=N_("Give the user that runs lastgood the right to write there."),
            where=path,
            cause=Cause.PERMISSION,
            path=path,
            reason=error.strerror or str(error),
        )
    if error.errno in NO_SUCH_PLACE:
        return Rejected(
            N_("there is no such place: {path} ({reason})"),
            todo=N_("Correct the setting root, or create its parent directory."),
            where=path,
            cause=Cause.WRONG_PATH,
            path=path,
            reason=error.strerror or str(error),
        )
    return Rejected(
        N_("{path} can't be used: {reason}"),
        todo=N_("Look at the file system and its log, then run it again."),
        where=path,
        path=path,
        reason=error.strerror or str(error),
    )


def bad_path(path: str, where: str) -> InvalidInput:
    return InvalidInput(
        N_("'{path}' is not a relative, normalised file path"),
        todo=N_("Use a path such as conf/app.yaml: no leading /, no '..', no empty part."),
        where=where,
        path=path,
    )
