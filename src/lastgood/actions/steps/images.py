"""Images: fetched into our archive and held in the engine; on the way back what is here already."""

from __future__ import annotations

from lastgood.actions.abilities import engine_of, registry_of
from lastgood.actions.images import can_start, refuse_moved
from lastgood.actions.renewing import with_valid_secrets
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.domain.release import Release
from lastgood.engine.handlers import Result, StepContext


class FetchImage(Handler):
    """What a tag named when the change was planned; where it has moved, nothing is fetched.

    Blobs that are here are not fetched again, so after a crash or a cut it goes on with the others.
    """

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        release = with_valid_secrets(context.store, self.tools.vault, release)
        asked = refuse_moved(self.tools.drivers, release)
        fetched = self._archive(release)
        return {**self._hold(release), "tag_asked": asked, "bytes": fetched}

    def _archive(self, release: Release) -> int:
        """Bytes that were lacking."""
        image = release.image
        if image is None or release.keep.image != "archive":
            return 0
        if image in self.tools.images.images() and not self.tools.images.missing(image):
            return 0
        return registry_of(self.tools.drivers, release).fetch(image, self.tools.images)

    def _hold(self, release: Release) -> Result:
        image, engine = release.image, engine_of(self.tools.drivers, release)
        if image is not None and engine is not None:
            engine.hold(image)
        return {"image": image.pinned if image else "", "held": engine is not None}


class HoldImage(FetchImage):
    """Asks no registry while the image is in the archive or in the engine."""

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        here = can_start(self.tools, self.tools.drivers, release)
        fetched = 0
        if not here:
            fetched = self._archive(with_valid_secrets(context.store, self.tools.vault, release))
        return {**self._hold(release), "bytes": fetched}
