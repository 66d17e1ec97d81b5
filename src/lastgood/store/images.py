"""Container images as an OCI image layout: plain files that any OCI tool reads, also without lastgood.

``oci-layout``, ``index.json`` and ``blobs/sha256/…`` as the OCI image specification 1.0 lays them out. What
an entry of the index stands for is in its annotations.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lastgood.domain.digest import canonical
from lastgood.domain.errors import Cause, DriverError, InvalidInput, Rejected
from lastgood.domain.image import Image
from lastgood.domain.message import N_
from lastgood.store.files import file_error, make_directory, sync_directory, write_durably

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_KEPT_AS = "dev.lastgood.image"
_PIECE = 1 << 20


class FileImages:
    """Implements ``ports.content.ImageArchive`` in ``directory`` (made at the first blob)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._blobs = directory / "blobs" / "sha256"

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> int:
        path = self._path(digest)
        try:
            make_directory(self._blobs)
            descriptor, name = tempfile.mkstemp(prefix=".new-", dir=self._blobs)
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    size, seen = _copy(chunks, file)
                    file.flush()
                    os.fsync(descriptor)
                if seen != digest:
                    raise _others(digest, seen)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            sync_directory(self._blobs)
        except OSError as error:
            raise file_error(error, path) from error
        return size

    def open_blob(self, digest: str) -> BinaryIO:
        path = self._path(digest)
        try:
            return path.open("rb")
        except FileNotFoundError as error:
            raise _gone(digest, path) from error
        except OSError as error:
            raise file_error(error, path) from error

    def has_blob(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def add(self, image: Image) -> None:
        lacking = [d for d in self._digests(image) if not self.has_blob(d)]
        if lacking:
            raise Rejected(
                N_("image {image} is not whole here: {missing} is missing"),
                todo=N_("Fetch it again: lastgood prove UNIT does."),
                image=str(image),
                missing=lacking[0],
            )
        with self._changing() as entries:
            entries[image.manifest] = image

    def missing(self, image: Image) -> tuple[str, ...]:
        return tuple(d for d in self._digests(image) if not self._sound(d))

    def size(self, image: Image) -> int:
        if image.manifest not in self._entries():
            return 0
        return sum(self._path(d).stat().st_size for d in self._digests(image) if self.has_blob(d))

    def export(self, image: Image, to: BinaryIO) -> None:
        """Both an OCI layout and what ``docker save`` writes, over the same blobs."""
        if missing := self.missing(image):
            raise _gone(missing[0], self._path(missing[0]))
        layers = [_name(layer["digest"]) for layer in self._manifest(image)["layers"]]
        saved = [{"Config": _name(image.config), "RepoTags": None, "Layers": layers}]
        index = canonical(_index({image.manifest: image}, self._blobs))
        with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, "oci-layout", _LAYOUT)
            _add(tar, "index.json", index)
            _add(tar, "manifest.json", canonical(saved))
            for digest in self._digests(image):
                tar.add(self._path(digest), _name(digest), filter=_plainly)

    def remove(self, image: Image) -> None:
        with self._changing() as entries:
            entries.pop(image.manifest, None)
            needed = {d for kept in entries.values() for d in self._digests(kept)}
            # The index first: a blob that is named there is never missing for having been removed halfway.
            unneeded = [d for d in self._digests(image) if d not in needed]
        for digest in unneeded:
            self._path(digest).unlink(missing_ok=True)

    def images(self) -> tuple[Image, ...]:
        return tuple(self._entries().values())

    # Within

    def _path(self, digest: str) -> Path:
        matched = _DIGEST.fullmatch(digest)
        if matched is None:
            raise InvalidInput(
                N_("'{digest}' is not a digest"),
                todo=N_("A digest is sha256: and 64 hex digits."),
                digest=digest,
            )
        return self._blobs / matched[1]

    def _manifest(self, image: Image) -> dict[str, Any]:
        with self.open_blob(image.manifest) as file:
            read: dict[str, Any] = json.load(file)
        return read

    def _digests(self, image: Image) -> list[str]:
        """Manifest, config and layers; of an image whose manifest is not here, only what is known of it."""
        known = [image.manifest, image.config]
        if self._sound(image.manifest):
            known += [layer["digest"] for layer in self._manifest(image)["layers"]]
        return list(dict.fromkeys(known))

    def _sound(self, digest: str) -> bool:
        try:
            with self._path(digest).open("rb") as file:
                return _copy(iter(lambda: file.read(_PIECE), b""), None)[1] == digest
        except OSError:
            return False

    def _entries(self) -> dict[str, Image]:
        """Manifest digest → image. An index that can't be read names nothing: every blob can be had again."""
        try:
            listed = json.loads((self._directory / "index.json").read_bytes())["manifests"]
            kept = [json.loads(entry["annotations"][_KEPT_AS]) for entry in listed]
            return {entry["manifest"]: Image(**entry) for entry in kept}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Image]]:
        """The entries of the index, to be changed; written durably at the end, by one process at a time."""
        try:
            make_directory(self._blobs)
            lock = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                entries = self._entries()
                yield entries
                write_durably(self._directory / "oci-layout", _LAYOUT)
                write_durably(self._directory / "index.json", canonical(_index(entries, self._blobs)))
            finally:
                os.close(lock)
        except OSError as error:
            raise file_error(error, self._directory) from error


def _copy(chunks: Iterable[bytes], to: BinaryIO | None) -> tuple[int, str]:
    """(size, digest) of what was copied."""
    size, hashed = 0, hashlib.sha256()
    for chunk in chunks:
        hashed.update(chunk)
        size += len(chunk)
        if to is not None:
            to.write(chunk)
    return size, f"sha256:{hashed.hexdigest()}"


def _index(entries: Mapping[str, Image], blobs: Path) -> dict[str, Any]:
    manifests = []
    for digest, image in sorted(entries.items()):
        path = blobs / digest.removeprefix("sha256:")
        kind = json.loads(path.read_bytes()).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        about = {"org.opencontainers.image.ref.name": str(image), _KEPT_AS: canonical(image).decode()}
        described = {"mediaType": kind, "digest": digest, "size": path.stat().st_size, "annotations": about}
        manifests.append(described)
    return {"schemaVersion": 2, "manifests": manifests}


def _name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))


def _plainly(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    return info


def _others(digest: str, seen: str) -> Rejected:
    return Rejected(
        N_("the bytes of {digest} are others: they are {seen}"),
        todo=N_("The transfer or the registry is damaged; try again, then look at the registry."),
        digest=digest,
        seen=seen,
    )


def _gone(digest: str, path: Path) -> DriverError:
    return DriverError(
        N_("blob {digest} of an image is not kept here whole"),
        todo=N_("Fetch it again while the registry has it: lastgood prove UNIT does."),
        where=str(path),
        cause=Cause.WRONG_PATH,
        digest=digest,
    )
