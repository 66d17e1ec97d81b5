"""Pruning: what nobody can need any more goes, what somebody may need stays."""

from __future__ import annotations

import pytest

from lastgood.domain.plan import PlanKind
from lastgood.store.images import FileImages
from tests.images.driving import back, deploy, deploy_well
from tests.images.running import assert_whole, containers
from tests.images.world import World

pytestmark = pytest.mark.xdist_group("images")


def archived(world: World) -> set[str]:
    """Tags of the images in the archive."""
    return {image.tag for image in FileImages(world.places.images).images()}


def test_the_newest_restore_points_stay_and_what_is_older_goes_with_all_it_had(two_sites: World) -> None:
    us, de = two_sites.units
    two_sites.service_yaml["keep"] = {"restore_points": 2}
    deploy_well(two_sites, "one", de)
    deploy_well(two_sites, "one", us)
    assert deploy(two_sites, "exit", us).kind is PlanKind.ROLLBACK
    deploy_well(two_sites, "two", us)
    assert "exit" in archived(two_sites), "only one has proved good since"
    for name in ("three", "four"):
        deploy_well(two_sites, name, us)
    kept = [two_sites.service().release(p.release).image for p in two_sites.service().history(us)[1]]
    assert [image.tag for image in kept if image] == ["four", "three"]
    # Image one is still what the other site runs, and may go back to.
    assert archived(two_sites) == {"one", "three", "four"}
    generations = {c.generation for c in containers(two_sites, us, running=False)}
    assert len(generations) == 2
    assert_whole(two_sites, "four", us)
    assert_whole(two_sites, "one", de)
    back(two_sites, us)
    assert_whole(two_sites, "three", us)
