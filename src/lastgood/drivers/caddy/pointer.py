"""The pointer file: one line, ``host:port generation``, replaced by an atomic rename."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import time
from pathlib import Path

from lastgood.domain.errors import Cause, InvalidInput, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.drivers.caddy.settings import valid_address
from lastgood.ports.traffic import Destination

GENERATION = re.compile(r"[A-Za-z0-9._:@/+-]{1,200}")
NO_GENERATION = "-"
"""Stands for an upstream that no generation of ours is behind (a baseline)."""
LEFT_OVER = 3600.0
CAUSES = {
    errno.EACCES: Cause.PERMISSION,
    errno.EPERM: Cause.PERMISSION,
    errno.EROFS: Cause.PERMISSION,
    errno.ENOENT: Cause.WRONG_PATH,
    errno.ENOTDIR: Cause.WRONG_PATH,
    errno.EISDIR: Cause.WRONG_PATH,
    errno.EEXIST: Cause.WRONG_PATH,
}


def line_of(destination: Destination) -> str:
    """Raises InvalidInput when it can't be written as one line that Caddy's matcher accepts."""
    if not destination.addresses and not destination.generation:
        return ""
    if len(destination.addresses) > 1:
        raise InvalidInput(
            N_("Caddy sends the requests of a unit to one address, and there are {count}"),
            todo=N_("Run one replica of web behind Caddy, or use the driver haproxy or nginx."),
            count=len(destination.addresses),
        )
    generation = destination.generation or NO_GENERATION
    address = "".join(destination.addresses)
    if (
        not valid_address(address)
        or not GENERATION.fullmatch(generation)
        or destination.generation == NO_GENERATION
    ):
        raise InvalidInput(
            N_("'{address}' with generation '{generation}' is no destination"),
            todo=N_("Give an address as host:port, and a generation without spaces."),
            address=address,
            generation=destination.generation,
        )
    return f"{address} {generation}\n"


def parse(line: str) -> Destination:
    """The inverse of ``line_of``; anything that Caddy's matcher refuses is nowhere."""
    parts = line.split()
    if len(parts) != 2:
        return Destination()
    return Destination("" if parts[1] == NO_GENERATION else parts[1], (parts[0],))


def create_empty(path: Path) -> None:
    """Have directory and pointer, without touching one that is there. Raises Rejected."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))
    except OSError as error:
        raise _rejected(path, error) from error


def write(path: Path, line: str) -> None:
    """Replace the pointer durably; on Rejected it is as before, on OutcomeUnknown it may be either."""
    temporary = ""
    try:
        _sweep(path)
        descriptor, temporary = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(descriptor, 0o644)  # Caddy often runs as another user
            file.write(line)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise _rejected(path, error) from error
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    try:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutcomeUnknown(
            N_("the pointer was replaced, but may not be durable: {reason}"),
            todo=N_("Check the disk, then run it again: it is safe to repeat."),
            where=str(directory),
            reason=error.strerror,
        ) from error


def _prefix(path: Path) -> str:
    return f".{path.name}.new-"


def _sweep(path: Path) -> None:
    """Remove what a writer killed before its rename left behind."""
    for old in path.parent.glob(f"{_prefix(path)}*"):
        if old.stat().st_mtime < time.time() - LEFT_OVER:
            old.unlink(missing_ok=True)


def _rejected(path: Path, error: OSError) -> Rejected:
    return Rejected(
        N_("the pointer of the traffic can't be written: {reason}"),
        todo=N_("Make {directory} a directory with free space that this user can write and Caddy can read."),
        where=str(path),
        cause=CAUSES.get(error.errno or 0),
        reason=error.strerror,
        directory=str(path.parent),
    )
