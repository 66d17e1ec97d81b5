"""kill -9 of our own process at every point of a program with images, forward and back.

One runner after the other is killed at the next point, taken from the program itself, so that whatever one
left behind is met by the next; the last one ends it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.actions.context import Context
from lastgood.actions.deploy import deploy
from lastgood.bootstrap.parts import build_context
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.planning.moves import begun
from tests.images.driving import deploy_well, end_of
from tests.images.runner import Point, Runner, killed_at
from tests.images.running import assert_whole, portrait
from tests.images.world import DEV, World

pytestmark = [pytest.mark.xdist_group("images"), pytest.mark.timeout(240)]

MOMENTS = ("before effect", "after effect", "after outcome")
FORWARD = {"room", "start", "split:20", "canary:20", "shift", "workers", "drain", "bundle", "retire", "prune"}
BACK = {"back:start", "back:shift", "back:workers", "back:stop"}


@pytest.fixture
def shop(world: World, runner: Runner, tmp_path: Path) -> World:
    """It serves image one, and no runner is there."""
    world.service_yaml["canary"] = [{"percent": 20, "watch": "300ms"}]
    world.service_yaml["keep"] = {"restore_points": 2, "bundles": str(tmp_path / "bundles")}
    world.service_yaml["criteria"]["page"]["least_sample"] = 3
    deploy_well(world, "one")
    runner.kill()
    return world


def accept(context: Context, world: World, name: str) -> Rollout:
    """Accept the next change without any runner."""
    world.commit(name)
    return deploy(context, DEV, reason="crash test", owner="team", impact="none")


def end_with_a_living_runner(world: World, rollout: str) -> Rollout:
    last = Runner(world.places).start()
    try:
        return end_of(world, rollout)
    finally:
        last.kill()


def assert_nothing_is_left(context: Context) -> None:
    with context.store.read() as unit:
        assert unit.locks.holder(f"unit:{DEV}") == ""
        assert list(unit.rollouts.open()) == []
        assert unit.audit.first_broken() is None


def test_forward(shop: World) -> None:
    context = build_context(shop.places)
    for name, moment in zip(("two", "three", "four"), MOMENTS, strict=True):
        rollout = accept(context, shop, name)
        steps = [step.id for step in rollout.plan.steps]
        assert set(steps) >= FORWARD
        killed_at(shop.places, [(moment, step) for step in steps])
        end = end_with_a_living_runner(shop, rollout.id)
        assert (end.id, end.state) == (rollout.id, RolloutState.VERIFIED), str(end.outcome)
        assert_whole(shop, name)
        assert_nothing_is_left(context)


def test_back(shop: World) -> None:
    context = build_context(shop.places)
    before = portrait(shop)
    shop.service_yaml["canary"] = []
    for moment in MOMENTS:
        rollout = accept(context, shop, "lies")
        steps = [s.id for s in begun(rollout.plan.way_back, frozenset(s.id for s in rollout.plan.steps))]
        assert set(steps) >= BACK
        points: list[Point] = [(moment, step) for step in steps]
        killed_at(shop.places, [*points, ("before finish", "finish")])
        end = end_with_a_living_runner(shop, rollout.id)
        assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
        assert portrait(shop) == before
        assert_whole(shop, "one")
        assert_nothing_is_left(context)
        shop.service().unfreeze(DEV, "crash test goes on")
        shop.service().quarantines.lift(rollout.id, "crash test goes on")
