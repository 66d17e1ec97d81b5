"""Blobs of images by digest: ``blobs/sha256/…``, and beside them what was seen of each when it was read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lastgood.domain.errors import Cause, DriverError, InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.store.files import file_error, make_directory, sync_directory

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NEW = ".new-"
_ABANDONED = 3600.0
"""Seconds without a byte written after which a new blob's writer is dead."""
_DOCUMENT = 4 << 20
"""Bytes of the largest manifest that registries take."""


class Blobs:
    """Files under their digest, which never change.

    Reading images of some hundred megabytes takes longer than anybody waits for ``status``, so each reading
    leaves a mark (``read/sha256/…``) of the file that was read: inode, size and time of its last change.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "blobs" / "sha256"
        self._marks = directory / "read" / "sha256"

    def path(self, digest: str) -> Path:
        """Raises InvalidInput for what is no digest."""
        matched = _DIGEST.fullmatch(digest)
        if matched is None:
            raise InvalidInput(
                N_("'{digest}' is not a digest"),
                todo=N_("A digest is sha256: and 64 hex digits."),
                digest=digest,
            )
        return self._directory / matched[1]

    def put(self, digest: str, chunks: Iterable[bytes]) -> int:
        """What goes wrong in ``chunks`` passes through, and leaves nothing. Raises Rejected for other bytes
        than ``digest`` names, DriverError: disk full, not permitted.
        """
        path = self.path(digest)
        try:
            make_directory(self._directory)
            descriptor, name = tempfile.mkstemp(prefix=_NEW, dir=self._directory)
        except OSError as error:
            raise file_error(error, path) from error
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                size = _write(file, digest, chunks, path)
                with _mapped(path):
                    os.fsync(descriptor)
                    temporary.replace(path)
                self._mark(path, _seen(file))
        finally:
            temporary.unlink(missing_ok=True)
        with _mapped(path):
            sync_directory(self._directory)
        return size

    def open(self, digest: str) -> BinaryIO:
        """Raises DriverError (wrong path) when it is missing or has not the size it was kept with."""
        path = self.path(digest)
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise _gone(digest, path) from error
        except OSError as error:
            raise file_error(error, path) from error
        mark = self._marked(path)
        if mark and mark.size != _seen(file).size:
            file.close()
            raise _gone(digest, path)
        return file

    def refuse(self, digest: str) -> None:
        """Raises DriverError: it is not here whole."""
        raise _gone(digest, self.path(digest))

    def sound(self, digest: str, *, read: bool = False) -> bool:
        """Whether its bytes are those of its name: by the mark of the last reading, else (or with ``read``)
        by reading it.
        """
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                begun = _seen(file)
                if not read and self._marked(path) == begun:
                    return True
                whole = hashlib.file_digest(file, "sha256").hexdigest() == path.name
                if whole and begun == _seen(file):
                    self._mark(path, begun)
        except OSError:
            return False
        if not whole:
            self._unmark(path)
        return whole

    def remove(self, digest: str) -> None:
        path = self.path(digest)
        try:
            self._unmark(path)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise file_error(error, path) from error

    def documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(digest, content) of the blobs that are JSON objects: manifests and configs."""
        for path in self._directory.iterdir() if self._directory.is_dir() else ():
            digest = f"sha256:{path.name}"
            with contextlib.suppress(OSError, ValueError, RecursionError):
                if not _DIGEST.fullmatch(digest) or path.stat().st_size > _DOCUMENT:
                    continue
                with path.open("rb") as file:
                    # Layers are skipped at their first byte.
                    content = json.loads(file.read()) if file.read(1) == b"{" and not file.seek(0) else None
                if isinstance(content, dict):
                    yield digest, content

    def sweep(self) -> None:
        """Remove what writers left that died."""
        for path in self._directory.glob(f"{_NEW}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()

    # Marks: one that can't be written or read only means that the blob is read again.

    def _mark(self, path: Path, seen: _Mark) -> None:
        with contextlib.suppress(OSError):
            make_directory(self._marks)
            (self._marks / path.name).write_text(json.dumps(seen))

    def _unmark(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            (self._marks / path.name).unlink(missing_ok=True)

    def _marked(self, path: Path) -> _Mark | None:
        try:
            return _Mark(*json.loads((self._marks / path.name).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None


class _Mark(NamedTuple):
    """A file as it was: ``changed`` (ns) is set by the kernel alone, at every change."""

    inode: int
    size: int
    changed: int


def _seen(file: BinaryIO | io.FileIO) -> _Mark:
    found = os.fstat(file.fileno())
    return _Mark(found.st_ino, found.st_size, found.st_ctime_ns)


def _write(file: io.FileIO, digest: str, chunks: Iterable[bytes], path: Path) -> int:
    """Returns the size. Raises Rejected when it was something else."""
    size, hashed = 0, hashlib.sha256()
    for chunk in chunks:
        hashed.update(chunk)
        size += len(chunk)
        with _mapped(path):
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise Rejected(
            N_("the bytes of {digest} are others: they are {seen}"),
            todo=N_("The transfer or the registry is damaged; try again, then look at the registry."),
            digest=digest,
            seen=f"sha256:{hashed.hexdigest()}",
        )
    return size


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise file_error(error, path) from error


def _gone(digest: str, path: Path) -> DriverError:
    return DriverError(
        N_("blob {digest} of an image is not kept here whole"),
        todo=N_("Fetch it again while the registry has it: lastgood prove UNIT does."),
        where=str(path),
        cause=Cause.WRONG_PATH,
        digest=digest,
    )
