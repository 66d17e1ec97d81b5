"""A shop whose database is MariaDB: out with a migration, back with all three, and proven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.rollout import RolloutState
from lastgood.testing.caddy_server import caddy, free_port
from lastgood.testing.mariadb_server import MariadbServer, mariadb
from tests.journey.conftest import stop_everything
from tests.journey.driving import begin, deploy_well, end_of
from tests.journey.page import page
from tests.journey.world import DEV, GIFT, World

NEXT = "(SELECT COALESCE(MAX(id), 0) + 1 FROM orders AS o)"
JOURNEY = f"INSERT INTO orders (id, note) VALUES ({NEXT}, 'written');\n"
WITH_CHANNEL = f"INSERT INTO orders (id, note, channel) VALUES ({NEXT}, 'written', 'web');\n"
CHANNEL = (
    "ALTER TABLE orders ADD COLUMN channel varchar(20) NOT NULL;\n",
    "SELECT channel FROM orders WHERE false;\n",
    "ALTER TABLE orders DROP COLUMN channel;\n",
)
"""Old verify scripts see nothing of it; old code can write no order any more."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbServer]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as started:
        yield started


@pytest.fixture
def world(tmp_path: Path, server: MariadbServer) -> Iterator[World]:
    server.ask("DROP DATABASE IF EXISTS orders; CREATE DATABASE orders")
    with caddy(tmp_path) as proxy:
        ports = {"dev": free_port(), "prod": free_port()}
        yield World(tmp_path, proxy.admin, ports, server.url("orders"))
        stop_everything(tmp_path)


def columns(server: MariadbServer) -> list[str]:
    return [row[0] for row in server.ask("SHOW COLUMNS FROM orders", "orders")]


def test_all_three_go_back_together_and_the_way_back_is_proven(world: World, server: MariadbServer) -> None:
    world.write("databases/orders/journey.sql", JOURNEY)
    world.commit("with a journey", text="one")
    deploy_well(world)
    server.ask("INSERT INTO orders VALUES (1, 'before')", "orders")
    world.migration("0002_gift", GIFT)
    world.commit("bad", text="bad", broken=True)
    failed = begin(world)
    assert "0002_gift" in str(failed)
    assert [one.old.value for one in failed.plan.rehearsed] == ["proven"]
    end = end_of(world, failed.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert columns(server) == ["id", "note"]
    assert page(world.ports["dev"])["text"] == "one"
    assert server.ask("SELECT * FROM orders", "orders") == [("1", "before")]
    proof = world.service().prove(DEV)
    assert proof.good
    (database,) = proof.databases
    assert database.proven_at is not None
    assert world.service().drift(DEV) == ()
    (status,) = world.service().status(DEV)
    assert status.way_back is not None
    assert status.way_back.databases_proven_at == database.proven_at
    scratch = [row[0] for row in server.ask("SHOW DATABASES") if row[0].startswith("lastgood_scratch")]
    assert scratch == []
    writers_stop_where_old_code_does_not_run(world, server)


def writers_stop_where_old_code_does_not_run(world: World, server: MariadbServer) -> None:
    world.service().unfreeze(DEV, "found")
    world.git("rm", "-qr", "databases/orders/migrations/0002_gift")
    world.migration("0002_channel", CHANNEL)
    world.write("databases/orders/journey.sql", WITH_CHANNEL)
    world.commit("channel", text="bad", broken=True)
    plan = world.service().plan(DEV)
    (rehearsed,) = plan.rehearsed
    assert (rehearsed.old.value, rehearsed.sample) == ("breaks", 0)
    assert "channel" in str(rehearsed.reason)
    order = [step.id for step in plan.steps]
    assert order.index("fence") < order.index("migrate:orders@dev/us:0002_channel") < order.index("start")
    end = end_of(world, begin(world).id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    back = [step.id for step in end.plan.steps]
    assert back.index("back:snapshot:orders@dev/us") < back.index("back:fence")
    assert back.index("back:fence") < back.index("back:revert:orders@dev/us:0002_channel")
    assert columns(server) == ["id", "note"]
    assert page(world.ports["dev"])["text"] == "one"
    assert server.ask("SELECT * FROM orders", "orders") == [("1", "before")]
