"""Files of our own for a while, and locks of our own: both are let go when their maker dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from lastgood.drivers.sqlite import failures
from lastgood.sql.failures import Spot

_LOCK = "lock"
_PAUSE = 0.02


@contextlib.contextmanager
def scratch(directory: Path) -> Iterator[Path]:
    """A folder in ``directory`` that nobody else uses; those that killed ones left are removed."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in directory.glob("[!.]*"):
        with contextlib.suppress(OSError), _lock(old / _LOCK, create=False):
            shutil.rmtree(old, ignore_errors=True)
    made = directory / secrets.token_hex(6)
    hidden = directory / f".{made.name}"
    hidden.mkdir(mode=0o700)
    try:
        with _lock(hidden / _LOCK):
            # Nobody takes it for one that was left before the lock is held.
            hidden.rename(made)
            yield made
    finally:
        for path in (hidden, made):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def alone(path: Path, spot: Spot, seconds: float) -> Iterator[None]:
    """The only one that holds the lock ``path``. Raises Rejected when another one does for ``seconds``."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(_lock(path))
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise failures.table_lock("another lastgood is at work on it", "", spot) from None
            time.sleep(_PAUSE)
        yield


@contextlib.contextmanager
def _lock(path: Path, *, create: bool = True) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
