"""Restore points beyond the declared number: no way back any more, and what only they needed goes. So does
what failed attempts left, once as many releases proved good after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial

from lastgood.actions.abilities import engine_of, generation_id, runtime_of
from lastgood.actions.expire import discard, snapshots_outdated
from lastgood.actions.keeping import images_archived, images_kept, releases_in_use, releases_kept
from lastgood.actions.renewing import with_valid_secrets
from lastgood.actions.set_aside import releases_aside
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.domain.errors import DriverError
from lastgood.domain.image import Image
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.restore_point import RestorePoint
from lastgood.engine.handlers import Result, StepContext
from lastgood.planning.pruning import outlived, prunable
from lastgood.ports.drivers import RemovesGenerations

LOOK_BACK = 200
"""Rollouts of a unit that are looked through for what failed ones left."""
FETCHING = N_("another image is not whole here yet, and may count on pieces of this one")


class Prune(Handler):
    """First they are told to be no way back, then what they held is removed: whoever dies in between, or
    meets a target that does not answer, leaves it to the next time. Evidence and objects stay.
    """

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        if not (context.result_of("keep") or {}).get("kept"):
            return {"pruned": [], "left": {}}
        if context.step.params["keep"]:
            self._mark(context, release)
        with context.store.read() as unit:
            waiting = unit.points.uncleared(release.unit)
        left: dict[str, str] = {}
        for point in waiting:
            if why := _why_not(partial(self._clear, context, point)):
                left[point.id] = why
        for failed in self._failed(context, release):
            if why := _why_not(partial(self._remove, context, failed)):
                left[generation_id(failed)] = why
        discarded = self._discard(context, release, left)
        found = {"discarded": discarded} if discarded else {}
        return {"pruned": [p.id for p in waiting if p.id not in left], "left": left, **found}

    def _discard(self, context: StepContext, release: Release, left: dict[str, str]) -> list[str]:
        """Copies of databases that are older than declared; those of ways back are a person's to decide."""
        gone = []
        for resource, days in context.step.params.get("days", {}).items():
            before = context.clock.now() - timedelta(days=days)
            with context.store.read() as unit:
                old = [s for s in snapshots_outdated(unit, resource, before) if s.expires]
            asking = with_valid_secrets(context.store, self.tools.vault, release) if old else release
            database = asking.database(resource)
            if database is None:
                continue
            for snapshot in old:
                try:
                    now = context.clock.now()
                    discard(context.store, self.tools.drivers, asking, database, snapshot, now)
                except DriverError as error:
                    if error.own_state:
                        raise
                    left[snapshot.id] = str(error.what)
                else:
                    gone.append(snapshot.id)
        return gone

    def _failed(self, context: StepContext, release: Release) -> Iterator[Release]:
        """Of the attempts long past, those that the runtime or the archive still holds something of."""
        with context.store.read() as unit:
            points = unit.points.list(release.unit)
            kept = releases_kept(unit, release.unit)
            rollouts = unit.rollouts.list(release.unit, LOOK_BACK)
            digests = outlived(rollouts, points, int(context.step.params["keep"]), kept)
            releases = [unit.releases.get(digest) for digest in digests]
        archived = {image.manifest for image in self.tools.images.images()}
        for failed in releases:
            runtime = runtime_of(self.tools.drivers, failed)
            known = {status.generation for status in runtime.status()} if runtime else set()
            if generation_id(failed) in known or (failed.image and failed.image.manifest in archived):
                yield failed

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
            kept_again = point.release in releases_kept(unit, point.unit)
        if not kept_again and (why := self._remove(context, release)):
            return why
        with context.store.write() as unit:
            unit.points.prune(replace(point, cleared_at=context.clock.now()))
        return ""

    def _remove(self, context: StepContext, release: Release) -> str:
        """Its generation and its image; returns why something has to stay for now."""
        runtime = runtime_of(self.tools.drivers, release)
        if isinstance(runtime, RemovesGenerations):
            runtime.remove(generation_id(release))
        return self._let_go(context, release, release.image) if release.image else ""

    def _let_go(self, context: StepContext, release: Release, image: Image) -> str:
        """Unless a newer release of this unit runs the same image: that one lets it go in its own time."""
        with context.store.read() as unit:
            if image.manifest in images_kept(unit, release.unit):
                return ""
        engine = engine_of(self.tools.drivers, release)
        if engine is not None:
            engine.let_go(image)
        # Nobody is accepted while this transaction is open: who comes later finds it gone, and fetches it.
        with context.store.write() as unit:
            needed = images_archived(unit)
            if image.manifest in needed:
                return ""
            if needed - {known.manifest for known in self.tools.images.images()}:
                return FETCHING
            self.tools.images.remove(image)
        return ""


def _why_not(remove: Callable[[], str]) -> str:
    """Why something has to stay for now; a target that does not answer is a reason, too."""
    try:
        return remove()
    except DriverError as error:
        if error.own_state:
            raise
        return str(error.what)
