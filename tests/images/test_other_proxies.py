"""The same images behind nginx and behind Caddy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.rollout import RolloutState
from lastgood.testing.caddy_server import caddy
from lastgood.testing.nginx_server import Site, nginx
from tests.images.customers import customers
from tests.images.driving import back, begin, deploy_well, end_of
from tests.images.running import assert_whole
from tests.images.world import DEV, World

pytestmark = pytest.mark.xdist_group("images")


@pytest.fixture
def world(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """The world of the other tests, its HAProxy gone, another proxy in its place."""
    world.network = "bridge"
    world.parts.proxy.stop()
    listen = f"127.0.0.1:{world.ports[DEV]}"
    world.service_yaml["signals"]["page"]["driver"] = request.param
    if request.param == "nginx":
        with nginx(tmp_path) as server:
            site = Site(DEV.slug, listen)
            server.serve(site)
            world.service_yaml["traffic"] = {"driver": "nginx", **server.settings(site)}
            yield world
    else:
        with caddy(tmp_path) as front:
            pointers = tmp_path / "pointers"
            pointers.mkdir()
            settings = {"admin": front.admin, "pointers": str(pointers), "listen": listen}
            world.service_yaml["traffic"] = {"driver": "caddy", **settings}
            world.service_yaml["roles"]["web"]["replicas"] = 1
            yield world


@pytest.mark.parametrize("world", ["nginx"], indirect=True)
def test_behind_nginx_a_change_a_breach_and_a_way_back(world: World, tmp_path: Path) -> None:
    deploy_well(world, "one")
    connections = 10
    with customers(world.ports[DEV], tmp_path, connections=connections) as crowd:
        deploy_well(world, "two")
        back(world)
    # nginx is reloaded once, for the new addresses; that closes connections on which nobody asks just then,
    # and these customers don't look before they ask on one.
    assert crowd.result["statuses"].keys() == {"200"}
    assert crowd.result["errors"].keys() <= {"closed", "reset"}
    assert crowd.result["failed"] <= connections
    world.commit("lies")
    end = end_of(world, begin(world).id)
    assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
    assert_whole(world, "one")


@pytest.mark.parametrize("world", ["caddy"], indirect=True)
def test_behind_caddy_a_change_and_a_way_back(world: World, tmp_path: Path) -> None:
    deploy_well(world, "one")
    with customers(world.ports[DEV], tmp_path) as crowd:
        deploy_well(world, "two")
        back(world)
    crowd.assert_unharmed()
    assert_whole(world, "one", replicas=1)
