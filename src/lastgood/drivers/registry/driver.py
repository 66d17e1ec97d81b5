"""Looks up and fetches images by the OCI distribution API (registry API version 2)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import replace
from typing import Any

from lastgood.domain.errors import OutcomeUnknown
from lastgood.domain.image import Image, ImageReference
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId
from lastgood.drivers.registry import manifests
from lastgood.drivers.registry.client import Registry
from lastgood.drivers.registry.manifests import Blob, Document, Manifest
from lastgood.drivers.registry.platforms import Platform
from lastgood.drivers.registry.settings import Settings
from lastgood.ports.content import DriverTools, ImageArchive

PARALLEL = 3
"""Blobs fetched at a time, as container engines do."""
ROUNDS = 3
"""The manifest, what it names, and once more for what somebody removed meanwhile."""


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> RegistryDriver:
    """Entry point. Raises InvalidInput naming the wrong or missing setting."""
    return RegistryDriver(Settings.of(unit, settings), tools)


class RegistryDriver:
    """ResolvesImages. Nothing is asked twice in here: requests only read, so who calls may ask again."""

    def __init__(self, settings: Settings, tools: DriverTools) -> None:
        self._settings = settings
        self._tools = tools
        self._registries: dict[str, Registry] = {}

    def resolve(self, reference: ImageReference) -> Image:
        if (kept := self._kept(reference)) is not None:
            return kept
        registry = self._registry(reference.host)
        found = registry.manifest(reference, reference.digest or reference.tag)
        digest = found.digest
        document = Document.of(reference, found.body, found.kind)
        if document.is_index:
            chosen = manifests.pick(reference, document, self._settings.platform)
            found = registry.manifest(reference, chosen)
            document = Document.of(reference, found.body, found.kind)
        manifest = manifests.manifest(reference, document)
        config = registry.document(reference, manifest.config)
        platform = manifests.check_config(reference, config, self._settings.platform)
        # A tag beside a digest says nothing: whoever wrote the digest does not care where the tag went.
        tag = "" if reference.digest else reference.tag
        repository = reference.repository
        return Image(repository, digest, found.digest, manifest.config.digest, str(platform), tag)

    def fetch(self, image: Image, archive: ImageArchive) -> int:
        fetched = 0
        for _ in range(ROUNDS):
            lacking = archive.missing(image)
            if not lacking:
                break
            fetched += self._bring(image, lacking, archive)
        if image not in archive.images():
            archive.add(image)
        return fetched

    def _kept(self, reference: ImageReference) -> Image | None:
        """The image of a digest that is kept here for our platform: nobody has to be asked what it is."""
        for image in self._tools.images.images() if reference.digest else ():
            named = reference.digest in (image.digest, image.manifest)
            fits = self._settings.platform.runs(Platform(*image.platform.split("/")))
            if named and fits and image.repository == reference.repository:
                return replace(image, digest=reference.digest, tag="")
        return None

    def _registry(self, host: str) -> Registry:
        if host not in self._registries:
            self._registries[host] = Registry(host, self._settings, self._tools.vault.unseal)
        return self._registries[host]

    def _bring(self, image: Image, lacking: Sequence[str], archive: ImageArchive) -> int:
        registry = self._registry(image.reference.host)
        if image.manifest in lacking:
            body = registry.manifest(image.reference, image.manifest).body
            return archive.put_blob(image.manifest, [body])
        blobs = _read_manifest(image, archive).blobs
        wanted = [blobs[digest] for digest in lacking if digest in blobs]
        stopped = threading.Event()

        def one(blob: Blob) -> int:
            with closing(registry.pieces(image.reference, blob)) as pieces:
                return archive.put_blob(blob.digest, _until(stopped, pieces))

        with ThreadPoolExecutor(PARALLEL) as pool:
            brought = [pool.submit(one, blob) for blob in wanted]
            try:
                return sum(future.result() for future in as_completed(brought))
            finally:
                # The first that fails says why; the others need not go on.
                stopped.set()
                for future in brought:
                    future.cancel()


def _read_manifest(image: Image, archive: ImageArchive) -> Manifest:
    with archive.open_blob(image.manifest) as file:
        return manifests.manifest(image.reference, Document.of(image.reference, file.read()))


def _until(stopped: threading.Event, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if stopped.is_set():
            raise OutcomeUnknown(N_("fetching was given up: another part of the image failed"))
        yield piece
