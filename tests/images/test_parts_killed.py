"""dockerd, HAProxy or the registry killed (-9) at every step: it waits, goes on, and the unit is whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lastgood.domain.rollout import RolloutState
from tests.images.driving import deploy_well, end_of
from tests.images.runner import Runner
from tests.images.running import assert_whole, portrait
from tests.images.world import DEV, World

pytestmark = [pytest.mark.xdist_group("images"), pytest.mark.timeout(240)]

STEPS = ("image", "start", "shift", "workers", "drain", "retire")
BACK_STEPS = ("back:start", "back:shift", "back:workers", "back:stop")


def dockerd(world: World) -> tuple[Callable[[], None], Callable[[], None]]:
    return world.parts.engine.kill, world.parts.engine.start


def proxy(world: World) -> tuple[Callable[[], None], Callable[[], None]]:
    return world.parts.proxy.kill, world.parts.proxy.start


def store_of_images(world: World) -> tuple[Callable[[], None], Callable[[], None]]:
    return world.parts.registry.kill, world.parts.registry.start


@pytest.fixture
def shop(world: World, runner: Runner) -> World:
    """It serves image one, and no runner is there."""
    deploy_well(world, "one")
    runner.kill()
    return world


PARTS = pytest.mark.parametrize("part", [dockerd, proxy, store_of_images])


def killed_at_each(world: World, rollout: str, steps: tuple[str, ...], part: Callable) -> None:
    """The part dies while a runner stands before each of the steps, and is back when it has gone on."""
    kill, start = part(world)
    runner = Runner(world.places, hold_at=frozenset(("before effect", step) for step in steps)).start()
    try:
        for step in steps:
            assert runner.await_hold()[1] == step
            kill()
            runner.go_on()
            start()
        end = end_of(world, rollout)
        assert end.state is RolloutState.VERIFIED, str(end.outcome)
    finally:
        runner.kill()


@PARTS
def test_forward_and_back(shop: World, part: Callable) -> None:
    shop.commit("two")
    killed_at_each(shop, accept(shop), STEPS, part)
    assert_whole(shop, "two")
    before = portrait(shop)
    shop.commit("lies")
    killed_at_each(shop, accept(shop), BACK_STEPS, part)
    assert portrait(shop) == before
    assert_whole(shop, "two")


def accept(world: World) -> str:
    """Accept what was committed without any runner; the id of the rollout."""
    from lastgood.actions.deploy import deploy
    from lastgood.bootstrap.parts import build_context

    return deploy(build_context(world.places), DEV, reason="test", owner="team", impact="none").id
