"""Content by digest, in plain files: ``ab/cdef…`` under one directory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import Cause, DriverError, InvalidInput
from lastgood.domain.message import N_
from lastgood.store.files import file_error, make_directory, sync_directory, write_durably

_DIGEST = re.compile(r"sha256:([0-9a-f]{2})([0-9a-f]{62})")


class FileObjects:
    """Implements ``ports.content.Objects`` in ``directory`` (made at the first ``put``)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, content: bytes) -> str:
        """A damaged copy is replaced by the good one. Raises DriverError: disk full, not permitted."""
        digest = digest_bytes(content)
        path = self._path(digest)
        try:
            if self._sound(digest, path):
                # Whoever wrote it may have died before its name was safe.
                sync_directory(path.parent)
            else:
                make_directory(path.parent)
                write_durably(path, content)
        except OSError as error:
            raise file_error(error, path) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Raises DriverError: missing or damaged (wrong path), not permitted; InvalidInput: no digest."""
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise _gone(digest, path) from error
        except OSError as error:
            raise file_error(error, path) from error
        if digest_bytes(content) != digest:
            raise _damaged(digest, path)
        return content

    def has(self, digest: str) -> bool:
        """Reads and hashes it: a name alone proves nothing."""
        return bool(_DIGEST.fullmatch(digest)) and self._sound(digest, self._path(digest))

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        return tuple(digest for digest in dict.fromkeys(digests) if not self.has(digest))

    def _path(self, digest: str) -> Path:
        matched = _DIGEST.fullmatch(digest)
        if matched is None:
            raise InvalidInput(
                N_("'{digest}' is not a digest"),
                todo=N_("A digest is sha256: and 64 hex digits."),
                digest=digest,
            )
        return self._directory / matched[1] / matched[2]

    def _sound(self, digest: str, path: Path) -> bool:
        try:
            return digest_bytes(path.read_bytes()) == digest
        except OSError:
            return False


def _gone(digest: str, path: Path) -> DriverError:
    return DriverError(
        N_("content {digest} is not kept here"),
        todo=N_("Put back {path} from a backup, or deploy the release that has it again."),
        where=str(path),
        cause=Cause.WRONG_PATH,
        digest=digest,
        path=str(path),
    )


def _damaged(digest: str, path: Path) -> DriverError:
    return DriverError(
        N_("content {digest} is damaged: its bytes do not match its name"),
        todo=N_(
            "Check the disk, and put back {path} from a backup; deploying the release "
            "that has it mends it as well. The damaged file was left as it is."
        ),
        where=str(path),
        cause=Cause.WRONG_PATH,
        digest=digest,
        path=str(path),
    )
