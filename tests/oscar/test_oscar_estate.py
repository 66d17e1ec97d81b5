"""An estate whose migrations are those of django-oscar: deployed, and taken back when the gate breaks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from lastgood.domain.rollout import RolloutState
from lastgood.drivers.postgresql.fingerprint import difference
from lastgood.drivers.postgresql.scan import split
from lastgood.testing.caddy_server import caddy, free_port
from lastgood.testing.postgres_server import PostgresServer
from tests.drivers.postgresql.conftest import Lab
from tests.journey.conftest import stop_everything
from tests.journey.driving import begin, deploy_well, end_of
from tests.journey.world import World
from tests.oscar.conftest import Step
from tests.oscar.filling import fill
from tests.oscar.test_oscar import listing, rows

pytestmark = [pytest.mark.xdist_group("oscar"), pytest.mark.timeout(400)]


@pytest.fixture
def world(tmp_path: Path, lab: Lab, server: PostgresServer) -> Iterator[World]:
    with caddy(tmp_path) as proxy:
        ports = {"dev": free_port(), "prod": free_port()}
        world = World(tmp_path, proxy.admin, ports, server.url(lab.name))
        shutil.rmtree(world.estate / "databases/orders/migrations/0001_init")
        yield world
        stop_everything(tmp_path)


def write(world: World, steps: Sequence[Step]) -> None:
    for step in steps:
        world.migration(step.script.name, (step.script.deploy, step.script.verify, step.script.revert))


def test_a_release_with_migrations_of_oscar_goes_back_when_its_gate_breaks(
    world: World, lab: Lab, steps: tuple[Step, ...]
) -> None:
    # Lint takes an empty script for a mistake.
    steps = tuple(s for s in steps if split(s.script.deploy, s.title))
    at = [s.title for s in steps].index("sites_0001_initial")
    write(world, steps[:at])
    world.commit("first", text="one")
    deploy_well(world)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        fill(connection)
    before, was = listing(lab), rows(lab)

    # The first one's verify asks for a column that a later one of the same release removed.
    write(world, steps[at : at + 3])
    world.commit("bad", text="bad", broken=True)
    end = end_of(world, begin(world).id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert difference(before, listing(lab)) == ""
    assert rows(lab) == was
    done = [e.step for e in world.service().show(end.id)[0].entries if e.mark.value == "done"]
    assert [s.partition(":revert:")[2].partition(":")[2] for s in done if ":revert:" in s] == [
        s.script.name for s in reversed(steps[at : at + 3])
    ]
