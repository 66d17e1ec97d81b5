"""Short words for what these journeys do again and again."""

from __future__ import annotations

from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import UnitId
from tests.images.world import DEV, World
from tests.journey.conftest import wait_for
from tests.journey.driving import begin, end_of, until

__all__ = ["back", "begin", "deploy", "deploy_well", "end_of", "until", "wait_for"]


def deploy(world: World, name: str, unit: UnitId = DEV, **values: object) -> Rollout:
    """Commit and deploy the image ``name``; the last rollout of what follows."""
    world.commit(name, **values)
    return end_of(world, begin(world, unit).id)


def deploy_well(world: World, name: str, unit: UnitId = DEV, **values: object) -> Rollout:
    end = deploy(world, name, unit, **values)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    return end


def back(world: World, unit: UnitId = DEV, to: str = "") -> Rollout:
    """Go back, well."""
    end = end_of(world, world.service().rollback(unit, to=to, reason="a customer called"))
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    return end
