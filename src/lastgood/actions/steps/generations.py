"""Generations: placed, started beside each other, handed the work, stopped."""

from __future__ import annotations

from lastgood.actions.abilities import generation_id, generation_of, runtime_of, traffic_of
from lastgood.actions.steps.tools import Handler, background_roles, base_at, release_at, valid_at
from lastgood.domain.errors import Conflict, DriverError, NeverReady
from lastgood.domain.message import N_
from lastgood.domain.release import Readiness, Release
from lastgood.domain.unit import Role
from lastgood.engine.handlers import Result, StepContext
from lastgood.ports.drivers import Generation, RoleStatus, Runs
from lastgood.ports.traffic import Destination, Leave

LOOK_SECONDS = 0.05
WORKER_READY_SECONDS = 15.0


class PlaceArtifact(Handler):
    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        runtime = runtime_of(self.tools.drivers, release)
        if runtime is not None:
            runtime.prepare(generation_of(self.tools.drivers, release))
        return {"artifact": release.artifact.digest if release.artifact else ""}


class StartGeneration(Handler):
    """``web`` running and passing its readiness probe; a warm one is found so at once. With ``mend`` it is
    started all the same: that is how a runtime puts right what somebody changed.
    """

    def run(self, context: StepContext) -> Result:
        release = valid_at(context)
        runtime = runtime_of(self.tools.drivers, release)
        if runtime is None:
            return {}
        generation = generation_of(self.tools.drivers, release)
        status = runtime.ready(generation, Role.WEB)
        warm = not status.detail and status.running and not context.step.params.get("mend")
        if not warm:
            runtime.prepare(generation)
            runtime.start(generation, [Role.WEB])
            status = await_ready(context, runtime, generation, release, Role.WEB)
        return {"generation": generation.id, "addresses": list(status.addresses), "warm": warm}


class SwitchWorkers(Handler):
    """Workers and schedulers run in exactly one generation: the other's stop before these start."""

    def run(self, context: StepContext) -> Result:
        release, base = valid_at(context), base_at(context)
        if base is not None and (old := runtime_of(self.tools.drivers, base)) is not None:
            old.stop(generation_id(base), background_roles(base))
        runtime = runtime_of(self.tools.drivers, release)
        roles = background_roles(release)
        if runtime is None or not roles:
            return {"roles": []}
        _refuse_double(runtime, generation_id(release))
        generation = generation_of(self.tools.drivers, release)
        runtime.prepare(generation)
        runtime.start(generation, roles)
        for role in roles:
            await_ready(context, runtime, generation, release, role)
        return {"roles": [role.value for role in roles]}


class StopGeneration(Handler):
    """Stops it, whole, and any older one that was left warm; logs and files stay."""

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        keep = {generation_id(release_at(context, "keep"))} if context.step.params.get("keep") else set()
        runtime = runtime_of(self.tools.drivers, release)
        if runtime is None:
            return {"stopped": []}
        refuses = self._close(release) if context.step.params.get("close") else {}
        running = {status.generation for status in runtime.status() if status.pid}
        stopped = sorted({*running, generation_id(release)} - keep)
        for generation in stopped:
            runtime.stop(generation, list(Role))
        return {"stopped": stopped, **refuses}

    def _close(self, release: Release) -> Result:
        """Its requests go nowhere: the proxy answers 503, and nobody meets a program that ends. A proxy that
        can't be told keeps no writer running; it refuses them by itself once nothing is behind it.
        """
        traffic = traffic_of(self.tools.drivers, release)
        if traffic is None:
            return {}
        try:
            traffic.route(Destination(), Leave.DRAIN)
        except DriverError as error:
            if error.own_state:
                raise
            return {"closed": str(error.what)}
        return {"closed": ""}


def _refuse_double(runtime: Runs, wanted: str) -> None:
    for status in runtime.status():
        if status.pid and status.role is not Role.WEB and status.generation != wanted:
            raise Conflict(
                N_("{role} of {generation} still runs (pid {pid}): two generations never share the work"),
                todo=N_("Stop it, then roll back or deploy again."),
                role=status.role.value,
                generation=status.generation,
                pid=status.pid,
            )


def await_ready(
    context: StepContext, runtime: Runs, generation: Generation, release: Release, role: Role
) -> RoleStatus:
    """Wait for a role to be ready; raises NeverReady with what the last look saw."""
    spec = next(s for s in release.roles if s.role is role)
    limit = (spec.ready or Readiness()).timeout if role is Role.WEB else WORKER_READY_SECONDS
    deadline = context.clock.monotonic() + limit
    while True:
        status = runtime.ready(generation, role)
        if status.running and not status.detail:
            return status
        if status.hopeless:
            raise NeverReady(
                N_("{role} of {generation} will not get ready: {detail}"),
                todo=N_("Its log is in the incident's evidence; mend it and deploy again."),
                where=str(release.unit),
                role=role.value,
                generation=generation.id,
                detail=status.detail,
            )
        if context.clock.monotonic() >= deadline:
            raise NeverReady(
                N_("{role} of {generation} was not ready after {seconds:g} s: {detail}"),
                todo=N_("Its log is in the incident's evidence; mend it and deploy again."),
                where=str(release.unit),
                role=role.value,
                generation=generation.id,
                seconds=limit,
                detail=status.detail or "-",
            )
        context.clock.sleep(LOOK_SECONDS)
