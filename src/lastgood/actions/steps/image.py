"""The image of a release, kept here before anything of it runs."""

from __future__ import annotations

from lastgood.actions.images import bring_image
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.engine.handlers import Result, StepContext


class FetchImage(Handler):
    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        return {"bytes": bring_image(self.tools.drivers, self.tools.images, release)}
