"""A registry without a server, for tests of what stands above it."""

from __future__ import annotations

from dataclasses import replace

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import Cause, Rejected, Unreachable
from lastgood.domain.image import Image, ImageReference
from lastgood.domain.message import N_
from lastgood.ports.content import ImageArchive
from lastgood.testing.images import Built, ImageBuild, index_of


class FakeRegistry:
    """ResolvesImages for linux/amd64 in memory. ``down``: it does not answer; ``asked`` counts its answers.

    ``archive``: what is kept here needs no registry.
    """

    def __init__(self, address: str, archive: ImageArchive) -> None:
        self.address = address
        self.down = False
        self.asked = 0
        self._archive = archive
        self._named: dict[str, Image | list[str]] = {}
        self._built: dict[str, Built] = {}

    def push(self, name: str, *builds: ImageBuild, index: bool = False) -> Image:
        """As ``testing.images.push``: the same image has the same digests here and there."""
        where = ImageReference.parse(f"{self.address}/{name}")
        made = [build.built() for build in builds]
        self._built.update({one.digest: one for one in made})
        digest = digest_bytes(index_of(made)) if index or len(made) > 1 else made[0].digest
        images = [one.image(where.repository, where.tag, digest) for one in made]
        mine = next((image for image in images if image.platform == "linux/amd64"), None)
        offered = [image.platform for image in images]
        for known in (f"{where.repository}:{where.tag}", f"{where.repository}@{digest}"):
            self._named[known] = mine or offered
        return images[0]

    def forget(self, name: str) -> None:
        """Somebody deletes a tag; what it named stays."""
        del self._named[f"{self.address}/{name}"]

    def resolve(self, reference: ImageReference) -> Image:
        digest = reference.digest
        for image in self._archive.images() if digest else ():
            if image.repository == reference.repository and digest in (image.digest, image.manifest):
                return replace(image, digest=digest, tag="")
        self._answer()
        name = f"{reference.repository}{f'@{digest}' if digest else f':{reference.tag}'}"
        found = self._named.get(name)
        if found is None:
            raise Rejected(
                N_("the registry has no {image}"),
                todo=N_("Look whether it was pushed."),
                cause=Cause.WRONG_PATH,
                image=name,
            )
        if not isinstance(found, Image):
            raise Rejected(
                N_("{image} is not there for linux/amd64, only for {offered}"),
                image=name,
                offered=", ".join(found),
            )
        return replace(found, tag="") if digest else found

    def fetch(self, image: Image, archive: ImageArchive) -> int:
        fetched = 0
        while lacking := archive.missing(image):
            self._answer()
            built = self._built[image.manifest]
            blobs = {**built.blobs, image.manifest: built.manifest}
            fetched += sum(archive.put_blob(digest, [blobs[digest]]) for digest in lacking)
        archive.add(image)
        return fetched

    def _answer(self) -> None:
        if self.down:
            raise Unreachable(
                N_("the registry {host} does not answer"), todo=N_("Start it."), host=self.address
            )
        self.asked += 1
