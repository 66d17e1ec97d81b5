"""What registries say of images, read with care: it comes from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lastgood.domain.errors import Cause, Rejected
from lastgood.domain.image import ImageReference
from lastgood.domain.message import N_
from lastgood.drivers.registry.platforms import Platform, best

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
ACCEPTED = ", ".join((*INDEXES, *MANIFESTS))
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Blob:
    """``size`` in bytes, as the manifest has it."""

    digest: str
    size: int


@dataclass(frozen=True)
class Manifest:
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> Mapping[str, Blob]:
        return {blob.digest: blob for blob in (self.config, *self.layers)}


@dataclass(frozen=True)
class Document:
    """A manifest or an index as it came; ``kind`` is its media type."""

    content: Mapping[str, Any]
    kind: str

    @classmethod
    def of(cls, reference: ImageReference, body: bytes, said: str = "") -> Document:
        """``said``: the media type of the answer. Raises Rejected."""
        content = _object(reference, body)
        kind = content.get("mediaType") or said.partition(";")[0].strip()
        return cls(content, str(kind))

    @property
    def is_index(self) -> bool:
        return self.kind in INDEXES or (self.kind not in MANIFESTS and "manifests" in self.content)


def pick(reference: ImageReference, index: Document, wanted: Platform) -> str:
    """The digest of the manifest that runs on ``wanted``. Raises Rejected naming what there is."""
    entries = [entry for entry in _list(index.content.get("manifests")) if _is_image(entry)]
    platforms = [Platform.of(entry["platform"]) for entry in entries]
    chosen = best(wanted, platforms)
    if chosen is None:
        offered = sorted({str(platform) for platform in platforms})
        raise _other_platform(reference, wanted, ", ".join(offered) or "-")
    return _blob(reference, entries[chosen]).digest


def manifest(reference: ImageReference, document: Document) -> Manifest:
    """Raises Rejected for what is no manifest of an image."""
    content = document.content
    if content.get("schemaVersion") != 2 or "config" not in content:
        raise unusable(reference, f"{document.kind or 'schema'} {content.get('schemaVersion')}")
    layers = tuple(_blob(reference, layer) for layer in _list(content.get("layers")))
    return Manifest(_blob(reference, content["config"]), layers)


def check_config(reference: ImageReference, body: bytes, wanted: Platform) -> Platform:
    """The platform it was built for. Raises Rejected when that is another one than ``wanted``."""
    built = Platform.of(_object(reference, body))
    if not built.os or not built.architecture:
        raise unusable(reference, "its config names no platform")
    if not wanted.runs(built):
        raise _other_platform(reference, wanted, str(built))
    return built


def unusable(reference: ImageReference, seen: str) -> Rejected:
    return Rejected(
        N_("{image} is not an image that can be used: {seen}"),
        todo=N_("Push it again as an OCI image or in Docker's schema 2, with a current tool."),
        where=reference.host,
        cause=Cause.WRONG_PATH,
        image=str(reference),
        seen=seen,
    )


def _other_platform(reference: ImageReference, wanted: Platform, offered: str) -> Rejected:
    return Rejected(
        N_("{image} is not there for {wanted}, only for {offered}"),
        todo=N_(
            "Build and push it for {wanted}, or name another 'platform' in the settings of the registry."
        ),
        where=reference.host,
        cause=Cause.WRONG_PATH,
        image=str(reference),
        wanted=str(wanted),
        offered=offered,
    )


def _object(reference: ImageReference, body: bytes) -> Mapping[str, Any]:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise unusable(reference, "it is no JSON object")
    return read


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_image(entry: object) -> bool:
    """Indexes also list what was written about images: attestations, signatures, other indexes."""
    if not isinstance(entry, dict) or not isinstance(entry.get("platform"), dict):
        return False
    return entry.get("mediaType", MANIFESTS[0]) in MANIFESTS


def _blob(reference: ImageReference, described: object) -> Blob:
    if isinstance(described, dict):
        digest, size = described.get("digest"), described.get("size")
        if isinstance(digest, str) and _DIGEST.fullmatch(digest) and isinstance(size, int) and size >= 0:
            return Blob(digest, size)
    raise unusable(reference, "it names a part without digest and size")
