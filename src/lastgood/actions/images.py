"""Images of a release: looked up when a change is planned, kept here before it runs, seen to be still here."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.abilities import registry_of, runtime_of
from lastgood.domain.errors import LastgoodError
from lastgood.domain.image import Image, ImageReference
from lastgood.domain.release import Release
from lastgood.ports.content import ImageArchive
from lastgood.ports.drivers import Drivers
from lastgood.ports.images import KeepsImages


def with_image(drivers: Drivers, reference: str, release: Release) -> Release:
    if not reference:
        return release
    return replace(release, image=registry_of(drivers, release).resolve(ImageReference.parse(reference)))


def bring_image(drivers: Drivers, archive: ImageArchive, release: Release) -> int:
    image, fetched = release.image, 0
    if image is None:
        return 0
    if release.keep.image == "archive" and archive.missing(image):
        fetched = registry_of(drivers, release).fetch(image, archive)
    runtime = runtime_of(drivers, release)
    if isinstance(runtime, KeepsImages):
        runtime.hold(image)
    return fetched


def missing_image(drivers: Drivers, archive: ImageArchive, release: Release) -> tuple[str, ...]:
    image: Image | None = release.image
    if image is None or not archive.missing(image):
        return ()
    try:
        runtime = runtime_of(drivers, release)
        there = isinstance(runtime, KeepsImages) and runtime.has(image)
    except LastgoodError as error:
        if error.own_state:
            raise
        there = False
    return () if there else (image.manifest,)
