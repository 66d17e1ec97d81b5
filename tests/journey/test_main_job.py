"""The main job on real parts: deploy, notice, go back, prove it."""

from __future__ import annotations

from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import UnitId
from tests.journey.page import page
from tests.journey.world import DEV, World


def deploy(world: World, unit: UnitId = DEV) -> Rollout:
    """Deploy HEAD and follow to the end, the way back included; returns the last rollout."""
    service = world.service()
    rollout = service.deploy(unit, reason="test", owner="team", impact="nobody")
    return [p.rollout for p in service.follow(rollout.id, lambda r: False)][-1]


def test_a_good_release_becomes_a_verified_restore_point(world: World) -> None:
    end = deploy(world)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert page(world.ports["dev"]) == {"status": "200", "text": "one"}
    world.commit("second", text="two")
    assert deploy(world).state is RolloutState.VERIFIED
    assert page(world.ports["dev"])["text"] == "two"
    (status,) = world.service().status(DEV)
    assert status.way_back is not None
    assert status.way_back.missing == 0


def test_a_broken_release_goes_back_by_itself_and_is_measured_again(world: World) -> None:
    assert deploy(world).state is RolloutState.VERIFIED
    world.commit("bad", text="bad", broken=True)
    end = deploy(world)
    assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
    assert page(world.ports["dev"]) == {"status": "200", "text": "one"}
