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
    """Atomically replaced and flushed. Raises OSError. The lock of its writers makes one half enough."""
    half = path(directory, f".{name}.half")
    try:
        with open(half, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(data, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path(directory, name))  # noqa: PTH105
    except OSError:
        if os.path.lexists(half):
            os.unlink(half)  # noqa: PTH108
        raise


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
