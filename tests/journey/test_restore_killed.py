"""kill -9 of the runner in the steps of a restore from a real server: it goes on, and no order is lost.

Every point of the program is tried on fakes in tests/actions; here are those where the server has begun
something.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from lastgood.actions.deploy import deploy
from lastgood.actions.restore import restore
from lastgood.bootstrap.parts import build_context
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.testing.postgres_server import PostgresServer
from tests.crash.runner import start_runner
from tests.journey.ordering import SPOILS, customers, logical_server, ordering_world, rows, some_more
from tests.journey.world import DEV, World

POINTS = [
    ("after effect", "copy"),
    ("after effect", "ahead"),
    ("after effect", "swap"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with logical_server(tmp_path_factory.mktemp("pg")) as started:
        yield started


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, server: PostgresServer) -> Iterator[World]:
    """Its first change is good, and the runner is gone again."""
    with ordering_world(tmp_path_factory.mktemp("world"), server) as made:
        made.watch = made.guard = made.verify = "0.6s"
        made.commit("quick", text="one")
        assert to_end(made, change(made)).state is RolloutState.VERIFIED
        yield made


def change(world: World) -> str:
    return deploy(build_context(world.places), DEV, reason="r", owner="o", impact="i").id


def to_end(world: World, rollout: str) -> Rollout:
    """A runner, until the rollout and what follows from it is over."""
    runner = start_runner(world.places)
    try:
        return [p.rollout for p in world.service().follow(rollout, lambda r: False)][-1]
    finally:
        os.kill(int(runner.pid or 0), signal.SIGKILL)
        runner.join(10)


@pytest.mark.parametrize(("moment", "step"), POINTS)
def test_it_goes_on(world: World, moment: str, step: str) -> None:
    world.migration("0002_prices", SPOILS)
    world.commit(f"spoils, {moment} {step}", text=f"{moment} {step}", broken=True)
    back = to_end(world, change(world))
    assert back.state is RolloutState.VERIFIED, str(back.outcome)
    world.service().unfreeze(DEV, "the test goes on")
    with customers(world) as shop:
        some_more(shop)
        rollout = restore(build_context(world.places), DEV).id
        runner = start_runner(world.places, (moment, step))
        runner.join(40)
        assert runner.exitcode == -signal.SIGKILL, f"was not killed at {moment} {step}"
        end = to_end(world, rollout)
        assert end.state is RolloutState.VERIFIED, str(end.outcome)
        some_more(shop)
    there = rows(world, "SELECT id, who FROM orders")
    assert set(shop.acknowledged) <= set(there)
    assert len(there) == len({number for number, _ in there})
    assert {row[0] for row in rows(world, "SELECT price FROM items")} == {101, 102, 103, 104, 105}
    leftover = "SELECT datname FROM pg_database WHERE datname LIKE 'shop_restored%'"
    assert rows(world, leftover) == []
    assert rows(world, "SELECT slot_name FROM pg_replication_slots") == []
