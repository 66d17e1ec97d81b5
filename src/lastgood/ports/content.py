"""Content we keep ourselves, by digest, and secrets, sealed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from lastgood.domain.release import SecretReference, SecretVersion


class Objects(Protocol):
    """Immutable content under its digest (``sha256:…``)."""

    def put(self, content: bytes) -> str:
        """Keep ``content`` durably (fsync before the name appears); returns its digest. Idempotent."""

    def get(self, digest: str) -> bytes:
        """Raises RollbackIncomplete-free ``DriverError`` when the content is missing or does not match."""

    def has(self, digest: str) -> bool:
        """Whether it is there and its bytes still match its name."""

    def missing(self, digests: Iterable[str]) -> tuple[str, ...]:
        """Those of ``digests`` that are not there or are damaged."""


class SecretResolver(Protocol):
    """Reads a secret where the estate says it is."""

    def resolve(self, reference: SecretReference) -> str:
        """Raises InvalidInput naming the variable or file that is missing, never its value."""


class Vault(Protocol):
    """Sealed copies of secret values beside the restore points; the key is held apart."""

    def version(self, name: str, value: str) -> SecretVersion:
        """The keyed digest of a value; the same value has the same version."""

    def seal(self, name: str, value: str) -> SecretVersion:
        """Keep a sealed copy; idempotent."""

    def unseal(self, secret: SecretVersion) -> str:
        """Raises DriverError (cause wrong path or permission) when the copy or the key is missing."""

    def has(self, secret: SecretVersion) -> bool: ...


class DriverTools(Protocol):
    """What a driver is given besides its settings."""

    @property
    def objects(self) -> Objects: ...

    @property
    def vault(self) -> Vault: ...

    @property
    def directory(self) -> Path:
        """A directory of this driver's own under the state directory."""
