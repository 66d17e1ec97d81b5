"""Whether what is watched stays up: a proxy that tries again, and an instance that is soon back, hide it."""

from __future__ import annotations

from lastgood.actions.abilities import generation_of, runtime_of
from lastgood.actions.steps.tools import Tools, background_roles
from lastgood.domain.errors import DriverError, GateFailed
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.unit import Role
from lastgood.ports.drivers import RoleStatus

MEND = N_("Its log is in the incident's evidence; mend it and deploy again.")


class StayingUp:
    """``web`` may not end by itself while it is watched. Workers and schedulers may, many do so by design and
    are started again, as long as they don't end again and again.
    """

    def __init__(self, tools: Tools, release: Release) -> None:
        self._runtime = runtime_of(tools.drivers, release)
        self._generation = generation_of(tools.drivers, release) if self._runtime else None
        self._background = background_roles(release)
        self.ends: int | None = None
        """How often ``web`` had ended by itself when the watch began; None when that could not be seen."""

    def begin(self) -> int | None:
        try:
            web = self._web()
        except DriverError as error:
            if error.own_state:
                raise
            web = None
        self.ends = web.restarts if web else None
        return self.ends

    def failure(self) -> GateFailed | None:
        """One look. A runtime that does not answer says nothing against the release."""
        try:
            return self._ended() or self._looping()
        except DriverError as error:
            if error.own_state:
                raise
            return None

    def _web(self) -> RoleStatus | None:
        if self._runtime is None or self._generation is None:
            return None
        mine = (s for s in self._runtime.status() if s.generation == self._generation.id)
        return next((status for status in mine if status.role is Role.WEB), None)

    def _ended(self) -> GateFailed | None:
        web = self._web()
        if web is not None and self.ends is None:
            # It could not be seen when the watch began: what comes after the first look still counts.
            self.ends = web.restarts
        if web is None or self.ends is None or web.restarts <= self.ends:
            return None
        return GateFailed(
            N_("{role} of {generation} ended by itself while it was watched, {count} times"),
            todo=MEND,
            role=web.role.value,
            generation=web.generation,
            count=web.restarts - self.ends,
        )

    def _looping(self) -> GateFailed | None:
        if self._runtime is None or self._generation is None:
            return None
        for role in self._background:
            seen = self._runtime.ready(self._generation, role)
            if seen.hopeless:
                return GateFailed(
                    N_("{role} of {generation} does not stay up: {detail}"),
                    todo=MEND,
                    role=role.value,
                    generation=seen.generation,
                    detail=seen.detail,
                )
        return None
