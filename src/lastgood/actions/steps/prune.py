"""Restore points beyond the declared number: no way back any more, and what only they needed goes."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.abilities import generation_id, runtime_of
from lastgood.actions.keeping import images_kept, images_of_all, releases_in_use, releases_kept
from lastgood.actions.set_aside import releases_aside
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.domain.errors import DriverError
from lastgood.domain.image import Image
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.restore_point import RestorePoint
from lastgood.engine.handlers import Result, StepContext
from lastgood.planning.pruning import prunable
from lastgood.ports.drivers import RemovesGenerations, Runs
from lastgood.ports.images import KeepsImages
from lastgood.ports.persistence import UnitOfWork

NEEDED = N_("another unit needs its image")
FETCHING = N_("an image is being fetched")


class Prune(Handler):
    """First they are told to be no way back, then what they held is removed: whoever dies in between, or
    meets a target that does not answer, leaves it to the next time. Evidence and objects stay.
    """

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        if not (context.result_of("keep") or {}).get("kept"):
            return {"pruned": []}
        self._mark(context, release)
        with context.store.read() as unit:
            waiting = unit.points.uncleared(release.unit)
        left: dict[str, str] = {}
        for point in waiting:
            try:
                why = self._clear(context, point)
            except DriverError as error:
                if error.own_state:
                    raise
                why = str(error.what)
            if why:
                left[point.id] = why
        return {"pruned": [p.id for p in waiting if p.id not in left], "left": left}

    @staticmethod
    def _mark(context: StepContext, release: Release) -> None:
        now = context.clock.now()
        with context.store.write() as unit:
            points = unit.points.list(release.unit)
            needed, aside = releases_in_use(unit, release.unit), releases_aside(unit, points)
            for point in prunable(points, int(context.step.params["keep"]), needed, aside):
                unit.points.prune(replace(point, pruned_at=now))

    def _clear(self, context: StepContext, point: RestorePoint) -> str:
        """Remove what only this point needed; returns why something has to stay for now, empty when not."""
        with context.store.read() as unit:
            release = unit.releases.get(point.release)
            again = point.release in releases_kept(unit, point.unit)
        if not again:
            runtime = runtime_of(self.tools.drivers, release)
            if isinstance(runtime, RemovesGenerations):
                runtime.remove(generation_id(release))
            if release.image and (why := self._let_go(context, release, release.image, runtime)):
                return why
        with context.store.write() as unit:
            unit.points.prune(replace(point, cleared_at=context.clock.now()))
        return ""

    def _let_go(self, context: StepContext, release: Release, image: Image, runtime: Runs | None) -> str:
        """The image, unless somebody needs it: a kept point of this unit lets it go in its own time."""
        with context.store.read() as unit:
            if image.manifest in images_kept(unit, release.unit):
                return ""
            if image.manifest in images_of_all(unit):
                return NEEDED
        if isinstance(runtime, KeepsImages):
            runtime.let_go(image)
        # Nobody is accepted while this transaction is open: who comes later finds it gone, and fetches it.
        with context.store.write() as unit:
            needed = image.manifest in images_of_all(unit)
            if not needed and self._fetching(unit):
                return FETCHING
            if not needed:
                self.tools.images.remove(image)
        if needed and isinstance(runtime, KeepsImages):
            runtime.hold(image)
        return NEEDED if needed else ""

    def _fetching(self, unit: UnitOfWork) -> bool:
        """Whether an image is on its way into the archive: it counts on the blobs that are there already."""
        there = {image.manifest for image in self.tools.images.images()}
        targets = (unit.releases.get(rollout.target) for rollout in unit.rollouts.open())
        return any(r.image and r.image.manifest not in there and r.keep.image == "archive" for r in targets)
