"""Requests of a unit from its access log, through rotation, each once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lastgood.drivers.nginx.settings import SignalSettings

LIMIT = 16 * 1024 * 1024
"""Bytes of one look; the next goes on from there."""
MARK = 64


@dataclass(frozen=True)
class Request:
    """``host`` is the upstream's name, empty when nginx answered by itself; ``seconds`` to the last byte."""

    status: str
    host: str
    seconds: float


@dataclass(frozen=True)
class Look:
    """``place`` goes on where this look ended. ``strange`` lines are none of our format."""

    place: Mapping[str, Any]
    requests: Sequence[Request]
    strange: int


def end_of(path: Path) -> dict[str, Any]:
    """The place behind all that is there now. Raises OSError."""
    with path.open("rb") as file:
        return _place(file, os.fstat(file.fileno()).st_size)


def look(path: Path, place: Mapping[str, Any]) -> Look:
    """What was written since ``place``. Raises OSError.

    Renamed by a rotation, the old file is read to its end first; cut to nothing (copytruncate), it is read
    from its beginning.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_ino == place["inode"]:
            return _read(file, place["offset"] if _is_same(file, place) else 0)
        old = _renamed(path, place)
        if old is not None:
            with old.open("rb") as before:
                rest = _read(before, place["offset"])
                if rest.requests or rest.strange or not os.fstat(file.fileno()).st_size:
                    return rest
        return _read(file, 0)


def _read(file: IO[bytes], offset: int) -> Look:
    file.seek(offset)
    content = file.read(LIMIT)
    whole = content[: content.rfind(b"\n") + 1]
    lines = [_request(line) for line in whole.splitlines()]
    requests = [line for line in lines if line is not None]
    return Look(_place(file, offset + len(whole)), requests, len(lines) - len(requests))


def _request(line: bytes) -> Request | None:
    try:
        values = json.loads(line)
        return Request(str(values["status"]), str(values["proxy_host"]), float(values["request_time"]))
    except (ValueError, KeyError, TypeError):
        return None


def _place(file: IO[bytes], offset: int) -> dict[str, Any]:
    return {"inode": os.fstat(file.fileno()).st_ino, "offset": offset, "mark": _mark(file, offset)}


def _mark(file: IO[bytes], offset: int) -> str:
    """Names what stands before ``offset``: an inode and a length may come again with other content."""
    begin = max(0, offset - MARK)
    file.seek(begin)
    return hashlib.sha256(file.read(offset - begin)).hexdigest()[:16]


def _is_same(file: IO[bytes], place: Mapping[str, Any]) -> bool:
    size = os.fstat(file.fileno()).st_size
    return bool(size >= place["offset"]) and _mark(file, place["offset"]) == place["mark"]


def _renamed(path: Path, place: Mapping[str, Any]) -> Path | None:
    for other in _others(path):
        try:
            if other.stat().st_ino == place["inode"]:
                with other.open("rb") as file:
                    return other if _is_same(file, place) else None
        except OSError:
            continue
    return None


def _others(path: Path) -> Iterator[Path]:
    for other in path.parent.iterdir():
        if other.name.startswith(path.name.split(".")[0]) and other.is_file():
            yield other


def good_of(requests: Sequence[Request], settings: SignalSettings) -> int:
    return sum(not settings.is_bad(request.status) for request in requests)


def quantile(requests: Sequence[Request], share: float) -> float | None:
    """Milliseconds within which ``share`` of them ended, by nearest rank; None when there are none."""
    ordered = sorted(request.seconds for request in requests)
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)] * 1000.0
