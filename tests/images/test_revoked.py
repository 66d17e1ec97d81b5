"""A revoked token in containers: the old image and configuration, byte for byte, with the newest token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lastgood.domain.rollout import RolloutState
from tests.images.driving import back, begin, deploy_well, end_of, until
from tests.images.running import assert_whole, portrait
from tests.images.world import DEV, World

pytestmark = pytest.mark.xdist_group("images")


def test_the_old_container_comes_up_with_the_newest_token(world: World, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    world.network = "bridge"
    world.service_yaml["keep"] = {"bundles": str(bundles)}
    deploy_well(world, "one")
    before = portrait(world)
    world.set_token("second-secret-value")
    world.service_yaml["windows"]["guard"] = "60s"
    world.commit("two", slow_ms=1)
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    service = world.service()
    revoked = service.secrets.revoke("TOKEN", reason="leaked")
    (old,) = revoked.revocations
    # The bundle of the old state was written anew: it holds the new token, sealed.
    assert revoked.bundles_left == ()
    assert [Path(name).parent for name in revoked.bundles] == [bundles]
    held = json.loads((bundles / DEV.slug / "release.json").read_bytes())["secrets"]
    assert [s["version"] for s in held] != [old.secret.version]
    assert len(list(bundles.glob(f"{DEV.slug}-*"))) == 1
    service.rollback(DEV, reason="leaked")
    end = end_of(world, rollout.id)
    assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
    assert_renewed(world, before)
    # And once more, from a later state, cold.
    world.service_yaml["windows"]["guard"] = "500ms"
    deploy_well(world, "three")
    back(world)
    assert_renewed(world, before)
    _a_bundle_that_cannot_be_renewed_is_named(world, bundles)


def _a_bundle_that_cannot_be_renewed_is_named(world: World, bundles: Path) -> None:
    service = world.service()
    (second,) = [s.secret.version for s in service.secrets.list() if s.revocation is None]
    left = service.secrets.revoke("TOKEN", second, reason="leaked too").bundles_left
    assert [Path(one.directory).parent for one in left] == [bundles]
    assert service.prove(DEV).bundles == (left[0].directory,)
    service.secrets.renew("TOKEN", "third-secret-value")
    again = service.secrets.revoke("TOKEN", second, reason="leaked too")
    assert (again.known, again.bundles_left, len(again.bundles)) == ((second,), (), 1)
    assert service.prove(DEV).bundles == ()


def assert_renewed(world: World, before: dict[str, dict[str, object]]) -> None:
    """All is as it was, but for the token."""
    now = portrait(world)
    for part in (*before.values(), *now.values()):
        part["environment"] = sorted(without_generation(part["environment"]))
    tokens = {line for part in now.values() for line in lines(part) if line.startswith("TOKEN=")}
    assert tokens == {"TOKEN=second-secret-value"}
    swapped = {
        name: {**part, "environment": sorted(renewed(line) for line in lines(part))}
        for name, part in before.items()
    }
    assert now == swapped
    assert_whole(world, "one")


def lines(part: dict[str, object]) -> list[str]:
    found = part["environment"]
    assert isinstance(found, list)
    return found


def without_generation(environment: object) -> list[str]:
    """A generation has a name of its own, and hears it."""
    assert isinstance(environment, list)
    return [line for line in environment if not line.startswith("LASTGOOD_GENERATION=")]


def renewed(line: str) -> str:
    return "TOKEN=second-secret-value" if line.startswith("TOKEN=") else line
