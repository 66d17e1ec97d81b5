"""What is asked of whoever keeps container images: the engine that runs them, the registry they come from.

Calls raise what ``ports.drivers`` says.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lastgood.domain.image import Image, ImageReference
from lastgood.ports.content import ImageArchive


@runtime_checkable
class KeepsImages(Protocol):
    """An engine with a cache of images, which somebody may empty at any time."""

    def hold(self, image: Image) -> None:
        """Have it in the engine, from the archive or the registry, and protect it from being pruned."""

    def has(self, image: Image) -> bool:
        """Whether the engine has it now, so that a generation starts without archive and registry."""

    def let_go(self, image: Image) -> None:
        """Protect it no longer; the engine may keep or prune it. Generations that use it are not touched."""


@runtime_checkable
class ResolvesImages(Protocol):
    """A registry: what a tag names now, and its content."""

    def resolve(self, reference: ImageReference) -> Image:
        """One look at the registry. Raises Rejected (not there; no right: cause PERMISSION; not for this
        platform) or Unreachable.
        """

    def fetch(self, image: Image, archive: ImageArchive) -> int:
        """Bring what ``archive`` lacks of it, each blob checked against its digest; returns bytes fetched.
        A fetch that was cut off goes on where it was or begins again; half a blob never gets a name.
        """
