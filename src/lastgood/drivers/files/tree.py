"""Directories of files on disk: look at them, and write them so that a crash leaves no half file."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

TEMPORARY = ".lastgood-tmp-"
BLOCK = 4096


@dataclass(frozen=True)
class Found:
    """``content`` is the digest of a regular file, else what stands there instead of one."""

    path: str
    mode: int
    content: str
    regular: bool = True


def is_safe(path: str) -> bool:
    """Relative, normalised, and naming something below the directory it is joined to."""
    parts = path.split("/")
    return "\0" not in path and all(part not in ("", ".", "..") for part in parts)


def temporary(directory: Path) -> Path:
    """A name in ``directory`` that nobody else uses and every scan skips."""
    return directory / f"{TEMPORARY}{secrets.token_hex(8)}"


def look(path: Path, name: str) -> Found:
    """One file without following links. Raises OSError."""
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Found(name, mode, f"symbolic link to {path.readlink()}", False)
    if not stat.S_ISREG(status.st_mode):
        return Found(name, mode, "not a regular file", False)
    with path.open("rb") as file:
        return Found(name, mode, "sha256:" + hashlib.file_digest(file, "sha256").hexdigest())


def scan(top: Path) -> dict[str, Found]:
    """Everything below ``top`` that is not a directory or one of our temporaries, by relative path."""
    return {name: look(path, name) for name, path in _walk(top, "")}


def _walk(top: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(top) as entries:
        found = sorted(entries, key=lambda e: e.name)
    for entry in found:
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), name + "/")
        elif not entry.name.startswith(TEMPORARY):
            yield name, Path(entry.path)


def remove_temporaries(top: Path) -> None:
    """Clear what a crash left half written; nobody ever saw these names as content."""
    for folder, _, names in os.walk(top):
        for name in names:
            if name.startswith(TEMPORARY):
                (Path(folder) / name).unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all: a temporary in the same directory, flushed, then renamed over ``path``."""
    half = temporary(path.parent)
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        half.replace(path)
    except OSError:
        half.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Durable, and readable for the service whatever the umask; its parent must exist."""
    if folder.is_dir():
        return
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    flush(folder.parent)


def flush(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folders(paths: Iterator[str]) -> list[str]:
    """Every folder that ``paths`` need, outermost first."""
    needed = {str(p) for path in paths for p in PurePosixPath(path).parents if str(p) != "."}
    return sorted(needed, key=lambda p: (p.count("/"), p))


def keep(path: Path, aside: Path) -> None:
    """Keep a second name of ``path`` at ``aside``; ``path`` stays, so that it can be replaced atomically."""
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, aside, follow_symlinks=False)
    except FileExistsError:
        return
    except PermissionError:  # file systems without hard links answer EPERM
        shutil.copy2(path, aside, follow_symlinks=False)


def move(path: Path, aside: Path) -> None:
    """Move ``path`` out of the way, whatever it is."""
    aside.parent.mkdir(parents=True, exist_ok=True)
    path.rename(aside)


def space_missing(place: Path, needed: int) -> int:
    """Bytes that lack on the file system of ``place`` for ``needed`` more; at least one block."""
    while not place.exists():
        place = place.parent
    system = os.statvfs(place)
    return max(needed - system.f_bavail * system.f_frsize, BLOCK)
