"""What somebody does to our containers by hand: found, told, and put right without harm to others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lastgood.domain.rollout import RolloutState
from tests.images.driving import begin, deploy_well, end_of
from tests.images.running import assert_whole, containers
from tests.images.world import DEV, World

pytestmark = pytest.mark.xdist_group("images")


def stop_one(world: World) -> None:
    world.parts.engine.docker("stop", containers(world)[0].name)


def remove_one(world: World) -> None:
    world.parts.engine.docker("rm", "--force", containers(world)[0].name)


def restart_one(world: World) -> None:
    world.parts.engine.docker("restart", containers(world)[0].name)


def remove_the_worker(world: World) -> None:
    world.parts.engine.docker("rm", "--force", containers(world)[-1].name)


def change_one(world: World) -> None:
    world.parts.engine.docker("update", "--pids-limit", "77", containers(world)[0].name)


def make_another(world: World) -> None:
    """In its place, from the same image, with other variables."""
    one = containers(world)[0]
    engine = world.parts.engine
    engine.docker("rm", "--force", one.name)
    engine.docker("run", "--detach", "--name", one.name, "--env", "TEXT=mine", one.inspected["Image"])


@pytest.mark.parametrize("act", [stop_one, remove_one, remove_the_worker, change_one])
def test_what_was_done_by_hand_is_drift_and_heals(world: World, act: Callable[[World], None]) -> None:
    deploy_well(world, "one")
    act(world)
    assert world.service().drift(DEV)
    world.commit("two")
    end = end_of(world, begin(world).id)
    assert end.state is RolloutState.FAILED, "nobody deploys over what is not understood"
    healed = end_of(world, world.service().heal(DEV, "somebody was here").id)
    assert healed.state is RolloutState.VERIFIED, str(healed.outcome)
    assert_whole(world, "one")


def test_one_restarted_by_hand_is_still_what_was_released(world: World) -> None:
    deploy_well(world, "one")
    restart_one(world)
    assert_whole(world, "one")
    deploy_well(world, "two")
    assert_whole(world, "two")


def test_a_container_of_somebody_else_with_our_name_is_told_and_left_alone(world: World) -> None:
    deploy_well(world, "one")
    make_another(world)
    stranger = containers_named(world)
    details = [drift.detail for drift in world.service().drift(DEV)]
    assert "somebody else's container has its name" in details
    world.commit("two")
    end = end_of(world, begin(world).id)
    assert end.state is RolloutState.FAILED
    healed = end_of(world, world.service().heal(DEV).id)
    assert healed.state is RolloutState.FAILED
    assert "lastgood did not make" in str(healed.outcome)
    assert containers_named(world) == stranger, "it still runs, as it was"


def containers_named(world: World) -> list[str]:
    """Ids and states of all containers that bear no label of ours."""
    listed = world.parts.engine.docker(
        "ps", "--all", "--format", '{{.ID}} {{.State}} {{.Label "dev.lastgood.unit"}}'
    )
    return [line.strip() for line in listed.splitlines() if str(DEV) not in line]
