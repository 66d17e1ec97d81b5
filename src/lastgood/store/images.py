"""Container images as an OCI image layout: plain files that any OCI tool reads, also without lastgood.

``oci-layout``, ``index.json`` and ``blobs/sha256/…`` as the OCI image specification 1.0 lays them out. What
an entry of the index stands for is in its annotations.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lastgood.domain.digest import canonical
from lastgood.domain.errors import Rejected
from lastgood.domain.image import Image
from lastgood.domain.message import N_
from lastgood.store.blobs import Blobs
from lastgood.store.files import file_error, make_directory, write_durably

_LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_KEPT_AS = "dev.lastgood.image"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

Described = dict[str, Any]
"""An entry of the index: media type, digest, size and annotations."""


class FileImages:
    """Implements ``ports.content.ImageArchive`` in ``directory`` (made at the first blob)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._blobs = Blobs(directory)

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> int:
        return self._blobs.put(digest, chunks)

    def open_blob(self, digest: str) -> BinaryIO:
        return self._blobs.open(digest)

    def has_blob(self, digest: str) -> bool:
        return self._blobs.path(digest).is_file()

    def add(self, image: Image) -> None:
        with self._changing() as entries:
            if lacking := self.missing(image):
                raise Rejected(
                    N_("image {image} is not whole here: {missing} is missing"),
                    todo=N_("Fetch it again: lastgood prove UNIT does."),
                    image=str(image),
                    missing=lacking[0],
                )
            self._write({**entries, image.manifest: self._described(image)})

    def missing(self, image: Image, *, read: bool = False) -> tuple[str, ...]:
        return tuple(d for d in self._digests(image) if not self._blobs.sound(d, read=read))

    def size(self, image: Image) -> int:
        if image.manifest not in self._entries():
            return 0
        return sum(self._blobs.path(d).stat().st_size for d in self._digests(image) if self.has_blob(d))

    def export(self, image: Image, to: BinaryIO) -> None:
        """Both an OCI layout and what ``docker save`` writes, over the same blobs."""
        if missing := self.missing(image):
            self._blobs.refuse(missing[0])
        layers = [_name(layer["digest"]) for layer in self._manifest(image.manifest)["layers"]]
        saved = [{"Config": _name(image.config), "RepoTags": None, "Layers": layers}]
        with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, "oci-layout", _LAYOUT)
            _add(tar, "index.json", canonical(_index([self._described(image)])))
            _add(tar, "manifest.json", canonical(saved))
            for digest in self._digests(image):
                with self.open_blob(digest) as blob:
                    _add(tar, _name(digest), blob)

    def remove(self, image: Image) -> None:
        with self._changing() as entries:
            # The index first, the manifest last: what is named is whole, and a removal that was killed is
            # ended by the next.
            self._write({digest: entry for digest, entry in entries.items() if digest != image.manifest})
            needed = self._needed_but_for(image)
            for digest in reversed(self._digests(image)):
                if digest not in needed:
                    self._blobs.remove(digest)

    def images(self) -> tuple[Image, ...]:
        return tuple(_image(entry) for entry in self._entries().values())

    # Within

    def _manifest(self, digest: str) -> dict[str, Any]:
        with self.open_blob(digest) as file:
            read: dict[str, Any] = json.load(file)
        return read

    def _digests(self, image: Image) -> list[str]:
        """Manifest, config and layers; of an image whose manifest is not here, only what is known of it."""
        known = [image.manifest, image.config]
        if self._blobs.sound(image.manifest):
            known += [layer["digest"] for layer in self._manifest(image.manifest)["layers"]]
        return list(dict.fromkeys(known))

    def _needed_but_for(self, image: Image) -> set[str]:
        """Blobs of every other manifest that is here: also of one that the index forgot, or that somebody is
        bringing at this moment.
        """
        needed: set[str] = set()
        for digest, content in self._blobs.documents():
            if digest != image.manifest and "layers" in content:
                parts = [content.get("config", {}), *content["layers"]]
                needed |= {digest, *(str(part.get("digest")) for part in parts)}
        return needed

    def _described(self, image: Image) -> Described:
        about = {"org.opencontainers.image.ref.name": str(image), _KEPT_AS: canonical(image).decode()}
        kind = self._manifest(image.manifest).get("mediaType", _MANIFEST)
        size = self._blobs.path(image.manifest).stat().st_size
        return {"mediaType": kind, "digest": image.manifest, "size": size, "annotations": about}

    def _entries(self) -> dict[str, Described]:
        """By manifest. An index that can't be read names nothing: every blob can be had again."""
        try:
            listed = json.loads((self._directory / "index.json").read_bytes())["manifests"]
            return {_image(entry).manifest: entry for entry in listed}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    @contextmanager
    def _changing(self) -> Iterator[Mapping[str, Described]]:
        """The entries of the index, which one process at a time changes."""
        try:
            make_directory(self._directory)
            lock = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._entries()
                self._blobs.sweep()
            finally:
                os.close(lock)
        except OSError as error:
            raise file_error(error, self._directory) from error

    def _write(self, entries: Mapping[str, Described]) -> None:
        write_durably(self._directory / "oci-layout", _LAYOUT)
        ordered = [entry for _, entry in sorted(entries.items())]
        write_durably(self._directory / "index.json", canonical(_index(ordered)))


def _image(entry: Mapping[str, Any]) -> Image:
    return Image(**json.loads(entry["annotations"][_KEPT_AS]))


def _index(entries: list[Described]) -> dict[str, Any]:
    return {"schemaVersion": 2, "manifests": entries}


def _name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _add(tar: tarfile.TarFile, name: str, content: bytes | BinaryIO) -> None:
    """Plainly: no owner and no time, so that the same image is the same tar."""
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    info.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    tar.addfile(info, file)
