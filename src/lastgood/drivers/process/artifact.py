"""Artifacts on disk: read-only trees named by the digest of their manifest, verified by hash."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import Artifact
from lastgood.drivers.process import layout
from lastgood.ports.content import Objects

WRITE = 0o222


def place_of(store: Path, artifact: Artifact) -> Path:
    return store / artifact.digest.removeprefix("sha256:")


def bring(store: Path, artifact: Artifact, objects: Objects) -> Path:
    """Have the tree of ``artifact`` below ``store``, whole; a damaged one is set aside, not mended.

    Raises InvalidInput when digest and files disagree, DriverError from ``objects``, OSError.
    """
    _check(artifact)
    place = place_of(store, artifact)
    lock = layout.lock(str(store / ".lock"), wait=True)
    try:
        if place.is_dir():
            if is_whole(place, artifact):
                return place
            aside = store / "aside" / f"{place.name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
            aside.parent.mkdir(exist_ok=True)
            place.chmod(0o755)
            place.rename(aside)
        _build(store / f".half-{place.name}", place, artifact, objects)
    finally:
        os.close(lock)
    return place


def is_whole(place: Path, artifact: Artifact) -> bool:
    """Exactly the files of the manifest, by hash and mode (without the write bits). Raises OSError."""
    wanted = {f.path: (f.content, f.mode & ~WRITE) for f in artifact.files}
    return dict(_scan(place, "")) == wanted


def _check(artifact: Artifact) -> None:
    safe = all(
        part not in ("", ".", "..") and "\0" not in part for f in artifact.files for part in f.path.split("/")
    )
    if not safe or Artifact.of(artifact.files).digest != artifact.digest:
        raise InvalidInput(
            N_("artifact {digest} does not match its own list of files"),
            todo=N_("The release is damaged; go to another one."),
            where=artifact.digest,
            digest=artifact.digest,
        )


def _scan(top: Path, prefix: str) -> Iterator[tuple[str, tuple[str, int]]]:
    for path in top.iterdir():
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            yield from _scan(path, f"{prefix}{path.name}/")
        elif stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                content = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            yield prefix + path.name, (content, stat.S_IMODE(status.st_mode))
        else:
            yield prefix + path.name, ("not a regular file", 0)


def _build(half: Path, place: Path, artifact: Artifact, objects: Objects) -> None:
    if half.exists():  # an earlier run died here
        shutil.rmtree(half)
    half.mkdir()
    for entry in artifact.files:
        path = half / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(objects.get(entry.content))
            file.flush()
            os.fchmod(file.fileno(), entry.mode & ~WRITE)
            os.fsync(file.fileno())
    folders = [Path(folder) for folder, _, _ in os.walk(half)]
    for folder in folders:
        _flush(folder)
    half.rename(place)
    _flush(place.parent)
    for folder in reversed(folders):
        (place / folder.relative_to(half)).chmod(0o555)


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
