"""The restore bundle: the old generation serves again, by plain commands, with everything of ours gone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.rollout import RolloutState
from lastgood.testing.postgres_server import PostgresServer, postgres
from lastgood.testing.registry_server import RegistryServer
from tests.images.bundled_database import ask, take_back, with_database
from tests.images.customers import page
from tests.images.driving import begin, deploy_well, until
from tests.images.runner import Runner
from tests.images.running import containers, portrait
from tests.images.world import DEV, World

pytestmark = pytest.mark.xdist_group("images")


def restore(world: World, bundle: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a person does who has nothing but the bundle, the key and the usual commands."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [str(bundle / "restore.sh")], env={**kept, **environment}, cwd="/", capture_output=True, text=True
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    with postgres(tmp_path / "pg") as started:
        yield started


def test_the_old_generation_serves_again_with_lastgoods_state_deleted(
    world: World, runner: Runner, shelf: RegistryServer, server: PostgresServer, tmp_path: Path
) -> None:
    bundles = tmp_path / "bundles"
    with_database(world, server)
    world.network = "bridge"
    world.service_yaml["keep"] = {"bundles": str(bundles)}
    deploy_well(world, "one")
    before = portrait(world)
    bundle = bundles / DEV.slug
    assert (bundle / "restore.sh").exists()
    (database,) = (bundle / "databases").iterdir()
    # One dump for two bundles, and no second copy of it on the disk.
    written = world.service().bundle(DEV, tmp_path / "by-hand", "")
    by_hand = written.directory / database.relative_to(bundle) / "dump.age"
    assert by_hand.stat().st_ino == (database / "dump.age").stat().st_ino
    assert {"psql", "pg_restore", "age"} <= set(written.needs)
    # The next one is on its way, with another secret, when everything is lost at once.
    world.set_token("second-secret-value")
    world.service_yaml["windows"]["guard"] = "60s"
    world.commit("two")
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    runner.kill()
    shutil.rmtree(world.places.state)
    shutil.rmtree(world.estate)
    for container in containers(world):
        world.parts.engine.docker("rm", "--force", container.name)
    assert page(world.ports[DEV])[0] == 503
    world.parts.engine.docker("image", "prune", "--all", "--force")

    refused = restore(world, bundle)
    assert refused.returncode != 0
    assert "LASTGOOD_KEY_FILE" in refused.stderr
    for _ in range(2):  # it may be run again
        done = restore(world, bundle, LASTGOOD_KEY_FILE=str(world.places.key))
        assert done.returncode == 0, done.stdout + done.stderr
        assert page(world.ports[DEV]) == (200, "one")
    told = [int(number) for number in re.findall(r"^== (\d+)\.", done.stdout, re.MULTILINE)]
    assert told == [1, 2, 3, 4, 5]
    assert {c.role for c in containers(world)} == {"web", "worker"}
    assert portrait(world) == before
    assert f"{database.relative_to(bundle)}/README.txt" in done.stdout
    ask(server, "DELETE FROM orders WHERE id > 10")
    take_back(database, server, tmp_path / "bin", world.places.key)
    in_clear = [
        file for file in bundles.rglob("*")
        if file.is_file() and (b"first-secret-value" in file.read_bytes() or file.parent.name == "secrets")
    ]  # fmt: skip
    assert in_clear == []
