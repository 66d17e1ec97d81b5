"""Content we keep ourselves, by digest, and secrets, sealed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from lastgood.domain.image import Image
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

    def sealed(self, secret: SecretVersion) -> bytes:
        """The sealed copy as it is kept, which whoever has the key opens without us. Raises as ``unseal``."""

    def seal_stream(self, source: BinaryIO, to: BinaryIO) -> None:
        """Write all of ``source`` to ``to``, sealed, piece by piece. Raises DriverError when there is no key,
        and what the streams raise (OSError).
        """

    def unseal_stream(self, source: BinaryIO, to: BinaryIO) -> None:
        """The reverse. Raises DriverError (cause wrong path or permission) when the key is missing or does
        not open it, or a part of it is damaged: what ``to`` got by then is not all.
        """


class ImageArchive(Protocol):
    """Images as files of our own (an OCI layout), so that going back needs no registry and no engine cache.

    Blobs are immutable under their digest and may be shared by images. An image is there when its manifest,
    its config and all layers are.
    """

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> int:
        """Keep a blob durably under ``digest``; returns its size. Raises Rejected when the bytes are others:
        then nothing is kept. Safe beside another writer of the same blob.
        """

    def open_blob(self, digest: str) -> BinaryIO:
        """Raises DriverError (cause wrong path) when it is missing or has not the size it was kept with."""

    def has_blob(self, digest: str) -> bool: ...

    def add(self, image: Image) -> None:
        """Name it in the index, once all its blobs are kept. Raises Rejected naming what is missing."""

    def missing(self, image: Image, *, read: bool = False) -> tuple[str, ...]:
        """Digests of its blobs that are not here or are damaged; empty: it is all here.

        A blob whose file is the one that was read whole before, unchanged, is not read again; ``read`` reads
        every byte.
        """

    def size(self, image: Image) -> int:
        """Bytes of its blobs, 0 when it is not here."""

    def export(self, image: Image, to: BinaryIO) -> None:
        """Write a tar that ``docker load`` and any OCI tool read. Raises DriverError when it is not whole."""

    def remove(self, image: Image) -> None:
        """Take it out of the index, and delete the blobs that no other image needs."""

    def images(self) -> tuple[Image, ...]:
        """Those named in the index."""


class DriverTools(Protocol):
    """What a driver is given besides its settings."""

    @property
    def objects(self) -> Objects: ...

    @property
    def vault(self) -> Vault: ...

    @property
    def images(self) -> ImageArchive: ...

    @property
    def directory(self) -> Path:
        """A directory of this driver's own under the state directory."""
