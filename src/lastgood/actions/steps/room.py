"""The proxy's route, and room for two generations side by side: asked before anything is prepared."""

from __future__ import annotations

from lastgood.actions.abilities import connections_of, runtime_of, traffic_of, unplaced
from lastgood.actions.steps.tools import Handler, release_at
from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.unit import Role
from lastgood.engine.handlers import Result, StepContext
from lastgood.ports.drivers import HasRoom


class CheckRoom(Handler):
    """Only ``web`` comes in addition; workers and schedulers take the place of the old ones."""

    def run(self, context: StepContext) -> Result:
        release = release_at(context)
        if (traffic := traffic_of(self.tools.drivers, release)) is not None:
            # What the proxy lacks is told while nothing runs yet; where requests go is not changed by it.
            traffic.install()
        runtime = runtime_of(self.tools.drivers, release)
        if runtime is None:
            return {}
        generation = unplaced(release)
        if any(s.generation == generation.id and s.role is Role.WEB and s.running for s in runtime.status()):
            return {"started": True}
        if isinstance(runtime, HasRoom):
            runtime.refuse_without_room(generation, [Role.WEB])
        wanted = sum(r.replicas * r.connections for r in release.roles if r.role is Role.WEB)
        free = {
            database.resource: self._refuse_without_connections(release, database, wanted)
            for database in release.databases
            if wanted
        }
        return {"connections": wanted, "free": free}

    def _refuse_without_connections(
        self, release: Release, database: DatabaseTarget, wanted: int
    ) -> int | None:
        """How many more connections it takes, None when it can't be asked."""
        server = connections_of(self.tools.drivers, release, database)
        if server is None:
            return None
        free = server.free_connections()
        if free < wanted:
            raise Rejected(
                N_("{resource} takes {free} more connections, the new generation opens up to {wanted}"),
                todo=N_(
                    "Raise max_connections or the user's CONNECTION LIMIT, or take fewer replicas or "
                    "connections. Nothing was changed."
                ),
                where=database.resource,
                resource=database.resource,
                free=free,
                wanted=wanted,
            )
        return free
