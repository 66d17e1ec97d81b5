"""Migrations are rehearsed before a plan is shown: what old code can't live with decides the way back."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import psycopg
import pytest

from lastgood.testing.postgres_server import PostgresServer
from tests.cli.conftest import Cli
from tests.journey.conftest import wait_for
from tests.journey.page import page
from tests.journey.world import GIFT, World

UNIT = "page@dev/us"
CHANGE = ("--reason", "test", "--owner", "team", "--impact", "nobody")
NEXT = "(SELECT coalesce(max(id), 0) + 1 FROM orders)"
JOURNEY = f"INSERT INTO orders (id, note) VALUES ({NEXT}, 'written');\n"
WITH_CHANNEL = f"INSERT INTO orders (id, note, channel) VALUES ({NEXT}, 'written', 'web');\n"
CHANNEL = (
    "ALTER TABLE orders ADD COLUMN channel text;\n"
    "ALTER TABLE orders ADD CONSTRAINT channel_said CHECK (channel IS NOT NULL) NOT VALID;\n",
    "SELECT channel FROM orders WHERE false;\n",
    "ALTER TABLE orders DROP COLUMN channel;\n",
)
"""Old verify scripts see nothing of it; old code can write no order any more."""
SLOW = (GIFT[0], "SELECT pg_sleep(60);\n", GIFT[2])
SLEEPING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname LIKE 'lastgood_scratch_%'"


@pytest.fixture
def world(shop: World) -> World:
    return shop


@pytest.fixture
def cli(world: World) -> Cli:
    places = {"LASTGOOD_STATE": str(world.places.state), "LASTGOOD_KEY_FILE": str(world.places.key)}
    return Cli(world.estate, {**places, "JOURNEY_TOKEN": "journey-secret-value"})


def kinds(steps: list[dict[str, Any]]) -> list[str]:
    return [step["kind"] for step in steps]


def scratches(server: PostgresServer) -> list[str]:
    with psycopg.connect(server.url()) as connection:
        query = "SELECT datname FROM pg_database WHERE datname LIKE 'lastgood_scratch_%'"
        return [row[0] for row in connection.execute(query)]


def first(world: World, cli: Cli) -> None:
    """Deployed, with a journey and an order."""
    world.write("databases/orders/journey.sql", JOURNEY)
    world.commit("first, with a journey", text="one")
    cli("deploy", UNIT, *CHANGE, "--yes", "--wait", "guard")
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO orders VALUES (1, 'before')")


def kill_a_plan(world: World, cli: Cli, server: PostgresServer) -> None:
    """kill -9 while it tries a migration on its copy."""
    world.migration("0002_gift", SLOW)
    world.commit("slow", text="two")
    planning = subprocess.Popen(
        cli.command("plan", UNIT), cwd=cli.directory, env=cli.environment, stdout=subprocess.DEVNULL
    )
    with psycopg.connect(server.url(), autocommit=True) as connection:
        wait_for(lambda: connection.execute(SLEEPING).fetchall())
    planning.send_signal(signal.SIGKILL)
    planning.wait()
    assert len(scratches(server)) == 1


def test_what_old_code_can_live_with_decides_the_way_back(
    world: World, cli: Cli, server: PostgresServer
) -> None:
    first(world, cli)
    traffic_goes_back_before_the_schema(world, cli, server)
    writers_stop_before_the_schema_goes_back(world, cli)


def traffic_goes_back_before_the_schema(world: World, cli: Cli, server: PostgresServer) -> None:
    kill_a_plan(world, cli, server)
    world.migration("0002_gift", GIFT)
    world.commit("gift", text="two")
    told = "rehearsing the migration of orders@dev/us on a copy"
    shown = cli("plan", UNIT).stdout
    assert told in shown
    assert scratches(server) == [], "what the killed one left is gone as well"
    assert "Traffic goes back first, the schema after." in " ".join(shown.split())
    assert told not in cli("plan", UNIT).stdout, "what was rehearsed is not rehearsed again"
    plan = cli.data("plan", UNIT)
    (rehearsed,) = plan["rehearsed"]
    assert (rehearsed["old"], rehearsed["sample"], rehearsed["pending"]) == ("proven", 0, ["0002_gift"])
    migrate = next(step for step in plan["steps"] if step["kind"] == "migrate")
    assert migrate["estimate"]["seconds"] == rehearsed["deploy_seconds"]["0002_gift"]
    order = kinds(plan["way_back"])
    assert order.index("shift_traffic") < order.index("revert_schema")
    assert "--no-rehearsal --plan" in " ".join(cli("plan", UNIT, "--no-rehearsal").stdout.split())
    other = cli.data("plan", UNIT, "--no-rehearsal")
    assert other["rehearsed"] == []
    assert other["digest"] != plan["digest"]
    cli("deploy", UNIT, *CHANGE, "--plan", plan["digest"], "--wait", "guard")
    with psycopg.connect(world.database_url) as connection:
        assert connection.execute("SELECT * FROM orders").fetchall() == [(1, "before", None)]


def writers_stop_before_the_schema_goes_back(world: World, cli: Cli) -> None:
    world.migration("0003_channel", CHANNEL)
    world.write("databases/orders/journey.sql", WITH_CHANNEL)
    world.commit("channel", text="bad", broken=True)
    shown = " ".join(cli("plan", UNIT).stdout.split())
    assert "Old code does not run on the new schema of orders@dev/us" in shown
    assert "channel_said" in shown
    assert "stop every writer first" in shown
    chinese = "".join(cli("plan", UNIT, LASTGOOD_LANG="zh").stdout.split())
    assert "旧代码不能在orders@dev/us的新结构上运行" in chinese
    assert "因此部署和回退都先停止所有写入者" in chinese
    plan = cli.data("plan", UNIT)
    assert plan["rehearsed"][0]["old"] == "breaks"
    order = [step["id"] for step in plan["steps"]]
    assert order.index("fence") < order.index("migrate:orders@dev/us:0003_channel") < order.index("start")
    back = [step["id"] for step in plan["way_back"]]
    assert back == [
        "back:evidence", "back:snapshot:orders@dev/us", "back:fence",
        "back:revert:orders@dev/us:0003_channel", "back:switch", "back:start", "back:shift", "back:workers",
        "verify",
    ]  # fmt: skip
    assert all(step["reversibility"] != "warm" for step in plan["steps"])
    cli("deploy", UNIT, *CHANGE, "--plan", plan["digest"], "--wait", "guard", code=5)
    assert page(world.ports["dev"]) == {"status": "200", "text": "two"}
    with psycopg.connect(world.database_url) as connection:
        assert connection.execute("SELECT * FROM orders").fetchall() == [(1, "before", None)]
    rollback = cli.data("history", UNIT)["rollouts"][0]["id"]
    done = [e["step"] for e in cli.data("show", rollback)["progress"]["entries"] if e["mark"] == "done"]
    assert done == back
