"""Short words for what the journeys do again and again."""

from __future__ import annotations

import os
import signal

from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import UnitId
from tests.journey.conftest import wait_for
from tests.journey.world import DEV, World


def begin(world: World, unit: UnitId = DEV, *, rehearse: bool = True, **request: str) -> Rollout:
    """Deploy HEAD; returns at once."""
    wanted = {"reason": "test", "owner": "team", "impact": "nobody", **request}
    return world.service().deploy(unit, rehearse=rehearse, **wanted)


def end_of(world: World, rollout: str) -> Rollout:
    """The last rollout of what follows from ``rollout``, its way back included."""
    return [p.rollout for p in world.service().follow(rollout, lambda r: False)][-1]


def deploy(world: World, unit: UnitId = DEV) -> Rollout:
    return end_of(world, begin(world, unit).id)


def deploy_well(world: World, unit: UnitId = DEV) -> Rollout:
    end = deploy(world, unit)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    return end


def until(world: World, rollout: str, state: RolloutState) -> None:
    """Wait until a rollout is in a state."""
    service = world.service()
    wait_for(lambda: service.show(rollout)[0].rollout.state is state)


def kill_runner(world: World) -> None:
    """kill -9, and seen to be gone."""
    service = world.service()
    pid = service.runner()
    assert pid, "there is no runner to kill"
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not service.runner())
