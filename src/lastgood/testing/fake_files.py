"""In-memory stand-ins: content and secrets (``FakeTools``), and a files driver (``FakeFiles``)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pyrage  # type: ignore[import-untyped]  # ships no types

from lastgood.domain.digest import digest, digest_bytes, short
from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.domain.observation import Drift, DriftKind, Observation
from lastgood.domain.release import FileEntry, SecretVersion
from lastgood.store.images import FileImages


class FakeObjects:
    """Objects in a dictionary."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def put(self, content: bytes) -> str:
        name = digest_bytes(content)
        self.contents[name] = content
        return name

    def get(self, digest: str) -> bytes:
        content = self.contents.get(digest)
        if content is None or digest_bytes(content) != digest:
            raise Rejected(N_("object {name} is missing or damaged"), where=digest, name=short(digest))
        return content

    def has(self, digest: str) -> bool:
        return digest in self.contents and digest_bytes(self.contents[digest]) == digest

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        return tuple(d for d in digests if not self.has(d))


_IDENTITY = "AGE-SECRET-KEY-1QCDVSAWDX9FYK93PNMATA5AW9MYYTM6FDA2W9ES83WHQRLD8PQLSN3286J"
"""Known to everybody: what one fake seals, another one opens, in another process as well."""


class FakeVault:
    """Secrets in a dictionary; the version is a keyed digest all the same. Streams are real age files."""

    def __init__(self) -> None:
        self._values: dict[SecretVersion, str] = {}

    def version(self, name: str, value: str) -> SecretVersion:
        return SecretVersion(name, hmac.new(b"fake", value.encode(), hashlib.sha256).hexdigest()[:16])

    def seal(self, name: str, value: str) -> SecretVersion:
        secret = self.version(name, value)
        self._values[secret] = value
        return secret

    def unseal(self, secret: SecretVersion) -> str:
        if secret not in self._values:
            raise Rejected(N_("no sealed copy of secret {name}"), where=secret.name, name=secret.name)
        return self._values[secret]

    def has(self, secret: SecretVersion) -> bool:
        return secret in self._values

    def sealed(self, secret: SecretVersion) -> bytes:
        return b"sealed:" + self.unseal(secret).encode()[::-1]

    def seal_stream(self, source: BinaryIO, to: BinaryIO) -> None:
        pyrage.encrypt_io(source, to, [self._identity().to_public()])

    def unseal_stream(self, source: BinaryIO, to: BinaryIO) -> None:
        pyrage.decrypt_io(source, to, [self._identity()])

    @staticmethod
    def _identity() -> pyrage.x25519.Identity:
        return pyrage.x25519.Identity.from_str(_IDENTITY)


@dataclass(frozen=True)
class FakeTools:
    """DriverTools without a state directory of their own beyond ``directory``."""

    directory: Path
    objects: FakeObjects = field(default_factory=FakeObjects)
    vault: FakeVault = field(default_factory=FakeVault)

    @property
    def images(self) -> FileImages:
        """A real archive: images are files for whoever reads them."""
        return FileImages(self.directory / "images")


@dataclass
class _Held:
    content: str
    mode: int


class FakeFiles:
    """Places and Observes in memory; ``edit`` is the hand edit that tests need."""

    def __init__(self, objects: FakeObjects) -> None:
        self._objects = objects
        self._releases: dict[str, dict[str, _Held]] = {}
        self._wanted: dict[str, tuple[FileEntry, ...]] = {}
        self._current = ""
        self.aside: list[tuple[str, str]] = []

    def place(self, release: str, files: Sequence[FileEntry]) -> Path:
        for file in files:
            if any(part in ("", ".", "..") for part in file.path.split("/")):
                raise InvalidInput(N_("'{path}' is not a relative, normalised file path"), path=file.path)
            self._objects.get(file.content)
        old = self._releases.get(release, {})
        new = {f.path: _Held(f.content, f.mode) for f in files}
        self.aside += [(p, held.content) for p, held in old.items() if new.get(p) != held]
        self._releases[release] = new
        self._wanted[release] = _ordered(files)
        return Path("/fake/releases") / short(release)

    def switch(self, release: str) -> None:
        if release and release not in self._releases:
            raise Rejected(N_("release {release} was never completely placed"), release=short(release))
        self._current = release
        if release:
            self.place(release, self._wanted[release])

    def current(self) -> str:
        return self._current

    def drift(self, files: Sequence[FileEntry]) -> tuple[Drift, ...]:
        wanted = {f.path: _Held(f.content, f.mode) for f in files}
        if not self._current:
            return (Drift("current", DriftKind.MISSING),) if wanted else ()
        found = self._releases[self._current]
        drifts = [] if self._wanted[self._current] == _ordered(files) else [
            Drift("current", DriftKind.CHANGED, "points to another release")
        ]  # fmt: skip
        for path in sorted(wanted.keys() | found.keys()):
            if path not in found:
                drifts.append(Drift(path, DriftKind.MISSING))
            elif path not in wanted:
                drifts.append(Drift(path, DriftKind.UNKNOWN))
            elif wanted[path] != found[path]:
                drifts.append(Drift(path, DriftKind.CHANGED))
        return tuple(drifts)

    def capture(self) -> tuple[FileEntry, ...]:
        found = self._releases.get(self._current, {})
        return _ordered([FileEntry(p, held.content, held.mode) for p, held in found.items()])

    def observe(self) -> Observation:
        entries = self.capture()
        facts = {"release": self._current, "files": len(entries)}
        return Observation(digest(entries if self._current else "no current"), datetime.now(UTC), facts)

    def edit(self, path: str, content: bytes | None) -> None:
        """Change a current file by hand; None removes it."""
        files = self._releases[self._current]
        if content is None:
            del files[path]
        else:
            files[path] = _Held(self._objects.put(content), files[path].mode if path in files else 0o644)


def _ordered(files: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    return tuple(sorted(files, key=lambda f: f.path))
