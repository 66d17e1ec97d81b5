"""The children write their logs themselves, so that the shim's death loses none; the shim turns them over."""

from __future__ import annotations

import os

LIMIT = 10 * 1024 * 1024
KEPT = 5


def rotate(log: str, limit: int = LIMIT) -> bool:
    """Copy a log that grew over ``limit`` bytes to ``.1`` and empty it: its writer appends, and goes on.

    What is written between the copy and the emptying is lost: at most a few lines. Raises OSError.
    """
    try:
        size = os.stat(log).st_size  # noqa: PTH116
    except FileNotFoundError:
        return False
    if size < limit:
        return False
    fresh = f"{log}.new"
    with open(log, "rb") as source, open(fresh, "wb") as target:  # noqa: PTH123
        while chunk := source.read(1 << 20):
            target.write(chunk)
    for number in range(KEPT - 1, 0, -1):
        if os.path.exists(f"{log}.{number}"):  # noqa: PTH110
            os.replace(f"{log}.{number}", f"{log}.{number + 1}")  # noqa: PTH105
    os.replace(fresh, f"{log}.1")  # noqa: PTH105
    os.truncate(log, 0)
    return True


def tail(log: str, size: int) -> bytes:
    """The last ``size`` bytes, with those of the file turned over just before; empty when there is none."""
    found = b""
    for name in (log, f"{log}.1"):
        try:
            with open(name, "rb") as file:  # noqa: PTH123
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - (size - len(found))))
                found = file.read() + found
        except FileNotFoundError:
            break
        if len(found) >= size:
            break
    return found[-size:]
