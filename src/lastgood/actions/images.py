"""Images: a tag is looked up once, when a change is planned; afterwards only its digest counts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lastgood.actions.abilities import engine_of, registry_of
from lastgood.actions.content import Kept
from lastgood.actions.context import Context
from lastgood.actions.secrets import login_names, with_secrets
from lastgood.domain.digest import canonical
from lastgood.domain.errors import Conflict, Unreachable
from lastgood.domain.image import Image, ImageReference
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.unit import UnitId
from lastgood.ports.drivers import Drivers
from lastgood.ports.estate import Rendered


@dataclass(frozen=True)
class Lookups:
    """What registries said while one change is planned: each is asked once for an image."""

    context: Context
    _found: dict[tuple[str, bytes], Image] = field(default_factory=dict)

    def with_image(self, release: Release, text: str) -> Release:
        """``release`` with the image that ``text`` names now. Raises what ``ResolvesImages`` raises."""
        if not text:
            return release
        asked = (text, canonical(release.registry))
        if asked not in self._found:
            registry = registry_of(self.context.drivers, release)
            self._found[asked] = registry.resolve(ImageReference.parse(text))
        return replace(release, image=self._found[asked])

    def content_of(self, rendered: Rendered) -> Release:
        """What a commit means for a unit that is not itself planned: of its secrets only what a registry
        wants to see is needed.
        """
        if (rendered.image, canonical(rendered.release.registry)) in self._found:
            return self.with_image(rendered.release, rendered.image)
        release, _ = with_secrets(self.context, rendered, login_names(rendered.release))
        return self.with_image(release, rendered.image)


def refuse_moved(drivers: Drivers, release: Release) -> bool:
    """Raises Conflict when the tag names another image by now, Rejected when it is gone. False when that is
    not known: a registry that does not answer keeps nobody from what is kept here.
    """
    image = release.image
    if image is None or not image.tag:
        return False
    try:
        now = registry_of(drivers, release).resolve(replace(image.reference, digest=""))
    except Unreachable:
        return False
    if now.digest != image.digest:
        raise tag_moved(release.unit, image, now)
    return True


def tag_moved(unit: UnitId, planned: Image, now: Image) -> Conflict:
    return Conflict(
        N_("the tag {image} has moved: it named {planned} when the change was planned, now it names {now}"),
        todo=N_(
            "Find out who pushed it, then plan again: lastgood plan {unit}. An image that is written with "
            "its digest can't move."
        ),
        where=str(unit),
        image=str(planned),
        planned=planned.digest,
        now=now.digest,
        unit=str(unit),
    )


def has_moved(planned: Image, now: Image) -> bool:
    """Whether one tag named both, at different times."""
    same = (planned.repository, planned.tag) == (now.repository, now.tag)
    return bool(planned.tag) and same and planned.digest != now.digest


def left_to_engine(drivers: Drivers, release: Release) -> tuple[str, ...]:
    """The image, when only the engine has to keep it and does not. Raises DriverError."""
    if release.image is None or release.keep.image != "engine":
        return ()
    engine = engine_of(drivers, release)
    return (release.image.pinned,) if engine is not None and not engine.has(release.image) else ()


def can_start(kept: Kept, drivers: Drivers, release: Release) -> bool:
    """Whether its image is here, kept by us or in the engine: one is enough to go back, whatever the release
    says of keeping. Raises DriverError when only the engine could know, and does not answer.
    """
    image = release.image
    if image is None or not kept.images.missing(image):
        return True
    engine = engine_of(drivers, release)
    return engine.has(image) if engine is not None else release.keep.image == "engine"
