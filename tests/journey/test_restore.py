"""A change spoils data while customers order: back to before it, and every order is there, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState
from lastgood.testing.pgbouncer_server import pgbouncer
from lastgood.testing.postgres_server import PostgresServer
from tests.journey.driving import begin, deploy_well, end_of
from tests.journey.ordering import SPOILS, customers, logical_server, ordering_world, rows, some_more
from tests.journey.page import page
from tests.journey.world import DEV, World


@pytest.fixture(scope="module")
def logical(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with logical_server(tmp_path_factory.mktemp("pg")) as started:
        yield started


@pytest.fixture
def world(tmp_path: Path, logical: PostgresServer) -> Iterator[World]:
    with ordering_world(tmp_path, logical) as made:
        yield made


@pytest.fixture
def bouncer(world: World, logical: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A pooler in front of the database; returns where customers order."""
    monkeypatch.setenv("POOLER_PASSWORD", "pooler-secret-value")
    with pgbouncer() as started:
        started.serve({"shop": f"host=127.0.0.1 port={logical.port} dbname=shop"})
        text = (world.estate / "databases/orders/database.yaml").read_text()
        pooler = f'poolers: [{{url: "{started.console}", password: {{env: POOLER_PASSWORD}}}}]\n'
        world.write("databases/orders/database.yaml", text + pooler)
        world.commit("a pooler in front", text="one")
        yield started.url("shop")


def test_no_order_is_lost_on_the_way_back(world: World, bouncer: str) -> None:
    """And through the pooler none is refused, either: customers wait for a moment."""
    deploy_well(world)
    world.migration("0002_prices", SPOILS)
    world.commit("free of charge", text="two", broken=True)
    with customers(world, bouncer) as shop:
        some_more(shop)
        failed = begin(world)
        assert any("lastgood restore" in str(note) for note in failed.plan.notes)
        back = end_of(world, failed.id)
        assert back.state is RolloutState.VERIFIED, str(back.outcome)
        assert f"lastgood restore {DEV}" in str(back.outcome)
        assert page(world.ports["dev"])["text"] == "one"
        assert {row[0] for row in rows(world, "SELECT price FROM items")} == {0}
        some_more(shop)
        databases = world.service().databases
        planned = databases.plan_restore(DEV)
        written = {table.table: table for table in planned.writes.tables}
        assert written["orders"].inserted >= 20
        assert not planned.costs
        assert any("the clients of the pooler" in str(note) for note in planned.plan.notes)
        restored = databases.restore(DEV, reason="prices are 0")
        end = end_of(world, restored.id)
        assert end.state is RolloutState.VERIFIED, str(end.outcome)
        some_more(shop)
    assert rows(world, "SELECT id, price FROM items ORDER BY id") == [(n, 100 + n) for n in range(1, 6)]
    there = rows(world, "SELECT id, who FROM orders")
    assert len(set(there)) == len(there) == len({who for _, who in there})
    assert set(shop.acknowledged) == set(there)
    assert shop.refused == []
    sold = rows(world, "SELECT sum(100000 - stock) FROM items")[0][0]
    assert sold == len(there)
    highest = max(number for number, _ in shop.acknowledged)
    ((following,),) = rows(world, "SELECT nextval(pg_get_serial_sequence('orders', 'id'))")
    assert following > highest  # type: ignore[operator]
    (status,) = world.service().status(DEV)
    assert status.left == status.captures == ()
    (aside,) = status.failed
    assert (aside.name,) in rows(world, "SELECT datname FROM pg_database")
    assert rows(world, "SELECT count(*) FROM pg_replication_slots") == [(0,)]
    assert end.kind is PlanKind.RESTORE
