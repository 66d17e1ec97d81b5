"""Dumps as files that nobody reads without the key: sealed while a tool writes them, opened while one reads.

Nothing lies on the disk in clear at any time, and no dump is in memory as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from lastgood.domain.errors import DriverError, LastgoodError
from lastgood.ports.content import Vault

_MAGIC = b"age-encryption.org/"
_BUFFER = 1 << 20


@dataclass
class Written:
    """What became of a sealed file, once it is whole: ``sha256:…`` of its bytes, and how many they are."""

    digest: str = ""
    size: int = 0


@dataclass(frozen=True)
class Dump:
    """A dump at ``path``. Those from before dumps were sealed are in clear."""

    path: Path
    vault: Vault

    @property
    def sealed(self) -> bool:
        """Raises OSError."""
        with self.path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC

    @contextlib.contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Its content in clear, for a tool to read. A key that is missing or a damaged part is said
        (DriverError) before what the tool makes of it. Raises OSError.
        """
        with self.path.open("rb", buffering=_BUFFER) as file:
            if not self.sealed:
                yield file
                return
            reading, writing = os.pipe()
            work = _into(writing, lambda to: self.vault.unseal_stream(file, to))
            with _beside(work), os.fdopen(reading, "rb") as source:
                yield source

    @property
    def opens(self) -> bool:
        """Whether the key opens it; its end is not read. Raises OSError."""
        try:
            with self.opened() as source:
                return bool(source.read(1))
        except DriverError:
            return False

    def copy_sealed(self, to: Path) -> None:
        """Have it at ``to``, sealed, without taking room twice where the disk allows it. Raises OSError."""
        if not self.sealed:
            with self.path.open("rb", buffering=_BUFFER) as source, _made(to) as file:
                self.vault.seal_stream(source, file)
            return
        try:
            os.link(self.path, to)
        except OSError:
            # Another file system, or one without links.
            with self.path.open("rb", buffering=_BUFFER) as source, _made(to) as file:
                while piece := source.read(_BUFFER):
                    file.write(piece)


@contextlib.contextmanager
def sealing(vault: Vault, path: Path) -> Iterator[tuple[IO[bytes], Written]]:
    """Where a tool writes a dump (a pipe), and what is told once the block is left: then ``path`` (0600) has
    all of it, sealed and on the disk. Raises OSError, and DriverError when there is no key.
    """
    written = Written()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as pipe, _beside(lambda: _seal(vault, reading, path, written)):
        try:
            yield pipe, written
        finally:
            # The end of what is to be sealed.
            pipe.close()


def _seal(vault: Vault, reading: int, path: Path, written: Written) -> None:
    # Closed whatever happens: the tool must not wait for a reader that has failed.
    with os.fdopen(reading, "rb", buffering=_BUFFER) as source, _made(path) as file:
        hashed = _Hashed(file)
        vault.seal_stream(source, cast(BinaryIO, hashed))
        file.flush()
        os.fsync(file.fileno())
        written.digest, written.size = "sha256:" + hashed.digest.hexdigest(), hashed.size


def _into(writing: int, work: Callable[[BinaryIO], None]) -> Callable[[], None]:
    def run() -> None:
        # Who reads may have all it needs: then the rest interests nobody.
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=_BUFFER) as to:
            work(to)

    return run


@contextlib.contextmanager
def _beside(work: Callable[[], None]) -> Iterator[None]:
    """``work`` goes on in a thread while the block runs, and is waited for. Its error says more than that of
    the tool at the other end of the pipe.
    """
    failed: list[OSError | LastgoodError] = []

    def run() -> None:
        try:
            work()
        except (OSError, LastgoodError) as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="sealing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        if failed:
            raise failed[0]


def _made(path: Path) -> BinaryIO:
    """A file that only we can read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


class _Hashed:
    """A file whose bytes are digested on their way."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        self.size += len(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()
