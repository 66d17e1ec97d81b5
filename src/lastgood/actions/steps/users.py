"""Units that share a database: whether all of them run after it was closed to them."""

from __future__ import annotations

from collections.abc import Mapping

from lastgood.actions.abilities import generation_of, runtime_of
from lastgood.actions.steps.generations import LOOK_SECONDS
from lastgood.actions.steps.tools import Handler
from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_, Message
from lastgood.domain.release import Release
from lastgood.engine.handlers import Result, StepContext

PATIENCE = 15.0
"""Seconds in which what ended by itself is up again, where something starts it again."""


class LookAtUsers(Handler):
    """Reports, never fails: the database is back, whatever has become of those that use it."""

    def run(self, context: StepContext) -> Result:
        with context.store.read() as unit:
            releases = [unit.releases.get(str(name)) for name in context.step.params["releases"]]
        deadline = context.clock.monotonic() + PATIENCE
        while True:
            down: dict[str, str] = {}
            unseen: dict[str, Message] = {}
            for release in releases:
                seen, why = self._down(release)
                down |= seen
                if why is not None:
                    unseen[str(release.unit)] = why
            if not down or context.clock.monotonic() >= deadline:
                told = {name: str(why) for name, why in unseen.items()}
                return {"units": [str(one.unit) for one in releases], "down": down, "unseen": told}
            context.clock.sleep(LOOK_SECONDS)

    def _down(self, release: Release) -> tuple[Mapping[str, str], Message | None]:
        """What of it does not run, and why it could not be seen."""
        if release.roles and (release.origin == "baseline" or release.runtime is None):
            return {}, Message(N_("it was not started by lastgood"))
        try:
            runtime = runtime_of(self.tools.drivers, release)
            if runtime is None:
                return {}, None
            generation = generation_of(self.tools.drivers, release)
            found = {}
            for spec in release.roles:
                status = runtime.ready(generation, spec.role)
                if not status.running or status.detail:
                    found[f"{release.unit} {spec.role.value}"] = status.detail or "-"
            return found, None
        except DriverError as error:
            if error.own_state:
                raise
            return {}, error.what
