"""Units with images, and the ways to lose them."""

from __future__ import annotations

from typing import Any

from lastgood.domain.image import Image
from lastgood.domain.release import Keep, Release
from tests.actions.theatre import Theatre

ENGINE = Keep(image="engine")


def image_of(release: Release) -> Image:
    assert release.image is not None
    return release.image


def on_two(theatre: Theatre, **changes: Any) -> tuple[Release, Release]:
    """On ``two``, after ``one``, each deployed with an image of its own."""
    theatre.stand(theatre.release("zero"))
    one, two = (pullable(theatre, tag) for tag in ("1", "2"))
    return (
        theatre.deploy_well(theatre.release("one", image=one, **changes)),
        theatre.deploy_well(theatre.release("two", image=two, **changes)),
    )


def pullable(theatre: Theatre, tag: str) -> Image:
    """Pushed to a registry from which the engine gets it by itself, too, until it is down."""
    image = theatre.push(tag)
    theatre.cache.pulled.add(image.manifest)
    return image


def registry_is_down(theatre: Theatre) -> None:
    theatre.registry.down = True
    theatre.cache.pulled.clear()


def lose_archive(theatre: Theatre, image: Image) -> None:
    """Somebody removed its blobs; the index does not know."""
    blobs = theatre.directory / "images/blobs/sha256"
    for digest in (image.manifest, image.config):
        (blobs / digest.removeprefix("sha256:")).unlink()


def lose_engine(theatre: Theatre) -> None:
    """Somebody removes every container that only holds an image, and prunes."""
    theatre.cache.holders.clear()
    theatre.cache.prune()
