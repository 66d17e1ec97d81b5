"""Going back when everything else is gone: registry, caches, Git, names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.errors import NotReversible
from lastgood.testing.images import push
from lastgood.testing.registry_server import RegistryServer, registry
from tests.images.customers import customers, page
from tests.images.driving import back, deploy_well
from tests.images.program import image
from tests.images.runner import Runner
from tests.images.running import assert_whole, portrait
from tests.images.world import DEV, World

pytestmark = pytest.mark.xdist_group("images")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RegistryServer]:
    """A registry that may be taken away, with images that no other test has in the engine."""
    with registry(tmp_path / "own") as server:
        for number, name in enumerate(("old", "new")):
            push(server, f"shop/page:{name}", image(name, random_bytes=300_000, seed=number))
        yield server


def image_of(server: RegistryServer, name: str) -> str:
    return f"{server.address}/shop/page:{name}"


def empty_caches(world: World) -> None:
    """What somebody does to get room: every stopped container and every image that none is left of."""
    world.parts.engine.docker("container", "prune", "--force")
    world.parts.engine.docker("image", "prune", "--all", "--force")


def test_with_registry_git_names_and_the_engines_cache_gone(
    world: World, runner: Runner, own: RegistryServer, tmp_path: Path
) -> None:
    """By the command line, in a place where neither the name service nor the table of hosts answers."""
    world.network = "bridge"  # Its own port is the same then, whichever one of this machine is free.
    deploy_well(world, image_of(own, "old"))
    before = portrait(world)
    deploy_well(world, image_of(own, "new"))
    runner.kill()
    own.stop()
    shutil.rmtree(world.estate)
    empty_caches(world)
    assert missing(world) == 0
    with customers(world.ports[DEV], tmp_path) as crowd:
        done = without_names(world, tmp_path, "rollback", str(DEV), "--yes", "--json")
    assert done.returncode == 0, done.stderr
    crowd.assert_unharmed()
    back = world.service().history(DEV)[0][0]
    assert back.finished_at is not None
    took = (back.finished_at - back.created_at).total_seconds()
    assert took < 60, "the recovery time that the service declares"
    assert portrait(world) == before
    assert_whole(world, "old")


def without_names(world: World, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run lastgood, and the runner that it starts, where no name can be looked up."""
    broken, empty = directory / "resolv.conf", directory / "hosts"
    broken.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    empty.touch()
    command = f"mount --bind {broken} /etc/resolv.conf && mount --bind {empty} /etc/hosts && exec "
    command += f"{sys.executable} -m lastgood --state {world.places.state} {' '.join(words)}"
    environment = {**os.environ, "LASTGOOD_KEY_FILE": str(world.places.key)}
    isolated = ["unshare", "--mount", "sh", "-c", command]
    return subprocess.run(isolated, env=environment, cwd="/", capture_output=True, text=True)


def test_a_held_image_outlives_the_usual_cleaning(world: World, own: RegistryServer) -> None:
    """Only the image prune: the container that holds the old image is not touched by it."""
    deploy_well(world, image_of(own, "old"))
    deploy_well(world, image_of(own, "new"))
    own.stop()
    shutil.rmtree(world.places.images)
    world.parts.engine.docker("image", "prune", "--all", "--force")
    back(world)
    assert_whole(world, "old")


def test_what_is_lost_is_said_before_and_prove_brings_it_back(world: World, own: RegistryServer) -> None:
    deploy_well(world, image_of(own, "old"))
    deploy_well(world, image_of(own, "new"))
    # The archive is lost: said, though the engine would do; and mended.
    shutil.rmtree(world.places.images)
    assert missing(world) > 0
    assert world.service().plan_rollback(DEV).steps
    assert world.service().prove(DEV).good
    assert missing(world) == 0
    # Archive and engine have lost it: said, and refused before anything is touched.
    shutil.rmtree(world.places.images)
    empty_caches(world)
    assert missing(world) > 0
    with pytest.raises(NotReversible, match="neither kept here whole nor in the engine"):
        world.service().rollback(DEV)
    assert page(world.ports[DEV]) == (200, "new")
    proof = world.service().prove(DEV)
    assert proof.good, proof
    assert missing(world) == 0
    own.stop()
    back(world)
    assert_whole(world, "old")


def missing(world: World) -> int:
    """Pieces of the way back that are not here, as status says."""
    (status,) = world.service().status(DEV)
    assert status.way_back is not None
    return status.way_back.missing
