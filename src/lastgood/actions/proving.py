"""Images of a way back: read whole, fetched again where something is missing, held in the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lastgood.actions.abilities import engine_of, registry_of
from lastgood.actions.context import Context
from lastgood.domain.errors import LastgoodError
from lastgood.domain.image import Image
from lastgood.domain.message import N_, Message
from lastgood.domain.proof import ImageProof
from lastgood.domain.release import Release


def prove_images(
    context: Context, releases: Sequence[Release], current: Release, told: Callable[[Message], None]
) -> tuple[ImageProof, ...]:
    """Each image once. ``current`` has the newest login, which may be the only one that is still good."""
    different = {release.image.manifest: release for release in releases if release.image}
    return tuple(
        _prove(context, release, release.image, current, told)
        for release in different.values()
        if release.image
    )


def _prove(
    context: Context, release: Release, image: Image, current: Release, told: Callable[[Message], None]
) -> ImageProof:
    began = context.clock.monotonic()
    errors: list[Message] = []
    lacked, fetched = 0, 0
    if release.keep.image == "archive":
        told(Message(N_("reading the image {image}"), {"image": str(image)}))
        if lacking := context.images.missing(image, read=True):
            lacked = len(lacking)
            told(Message(N_("fetching what is missing of the image {image}"), {"image": str(image)}))
            fetched = _attempt(lambda: _fetch(context, release, image, current), errors) or 0
    held = bool(_attempt(lambda: _hold(context, release, image), errors))
    kept = not context.images.missing(image)
    seconds = context.clock.monotonic() - began
    return ImageProof(str(image), image.digest, kept, held, lacked, fetched, seconds, tuple(errors))


def _fetch(context: Context, release: Release, image: Image, current: Release) -> int:
    same = current.image is not None and current.image.reference.host == image.reference.host
    return registry_of(context.drivers, current if same else release).fetch(image, context.images)


def _hold(context: Context, release: Release, image: Image) -> bool:
    engine = engine_of(context.drivers, release)
    if engine is None:
        return False
    engine.hold(image)
    return True


def _attempt(act: Callable[[], int], errors: list[Message]) -> int | None:
    """What fails is told at the end, after the rest was proven too."""
    try:
        return act()
    except LastgoodError as error:
        if error.own_state:
            raise
        errors.append(error.what)
        return None
