"""The main way with images: deploy, verify, break, be back exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.domain.rollout import RolloutState
from tests.images.customers import customers
from tests.images.driving import begin, deploy_well, end_of
from tests.images.running import assert_whole, portrait
from tests.images.world import DEV, World

pytestmark = pytest.mark.xdist_group("images")


def test_image_configuration_and_secrets_are_as_they_were(world: World, tmp_path: Path) -> None:
    world.network = "bridge"
    with customers(world.ports[DEV], tmp_path, rate=100) as crowd:
        deploy_well(world, "one", slow_ms=1)
        before = portrait(world)
        assert set(before) == {"web.1", "web.2", "worker.1"}
        assert any("TOKEN=first-secret-value" in part["environment"] for part in before.values())
        # Everything at once: another image, configuration, variables, limits and secret; and it is broken.
        world.set_token("second-secret-value")
        world.service_yaml["runtime"]["memory"] = "96m"
        world.service_yaml["roles"]["web"]["environment"] = {"ADDED": "yes"}
        world.commit("lies", slow_ms=2)
        failed = begin(world)
        end = end_of(world, failed.id)
        assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
        crowd.go_home()
    assert portrait(world) == before
    assert_whole(world, "one")
