"""Where things of one generation lie, and the plain data in them. Light: the shim imports it.

``spec.json``    what the generation is (written by the driver, rarely)
``desired.json`` role → shall it run (written by the driver under ``change.lock``)
``state.json``   role → what runs (written by the shim, or under its lock by the driver)
``shim.lock``    held by the shim as long as it lives: two can never run
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from typing import Any

SPEC, DESIRED, STATE, SHIM_LOCK, CHANGE_LOCK = (
    "spec.json", "desired.json", "state.json", "shim.lock", "change.lock",
)  # fmt: skip
MARKER = "LASTGOOD_RUN"
FULL = (errno.ENOSPC, errno.EDQUOT)
SPARE = 4096


def path(directory: str, *names: str) -> str:
    return "/".join((directory, *names))


def marker(directory: str, role: str) -> str:
    """The environment entry that every process of a role carries, even one that left its session."""
    return f"{MARKER}={directory}#{role}"


def read(directory: str, name: str) -> dict[str, Any]:
    """Empty when it is missing or unreadable: what matters is then seen in /proc instead."""
    try:
        with open(path(directory, name), "rb") as file:  # noqa: PTH123
            data = json.load(file)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write(directory: str, name: str, data: dict[str, Any]) -> None:
    """Atomically replaced and flushed. Raises OSError. The lock of its writers makes one half enough.

    A spare block is kept beside it: on a full disk a role must still be stopped, and its state told.
    """
    target, half, spare = (
        path(directory, name),
        path(directory, f".{name}.half"),
        path(directory, f".{name}.spare"),
    )
    content = json.dumps(data, indent=1, sort_keys=True).encode()
    try:
        _put(half, content, os.O_CREAT | os.O_TRUNC)
    except OSError as error:
        if os.path.lexists(half):
            os.unlink(half)  # noqa: PTH108
        if error.errno not in FULL or len(content) > SPARE or not os.path.lexists(spare):
            raise
        _put(spare, content, 0)
        os.replace(spare, half)  # noqa: PTH105
    os.replace(half, target)  # noqa: PTH105
    _reserve(spare)


def _put(file: str, content: bytes, flags: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | flags, 0o644)
    try:
        os.write(descriptor, content)
        os.ftruncate(descriptor, len(content))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reserve(spare: str) -> None:
    if os.path.lexists(spare):
        return
    descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, SPARE)
    except OSError:
        os.unlink(spare)  # noqa: PTH108 - an empty one would be no help
    finally:
        os.close(descriptor)


def lock(file: str, wait: bool) -> int:
    """A descriptor that holds the kernel lock on ``file`` until it is closed; -1 when somebody has it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return -1
        raise
    return descriptor
