"""Two units on one real database under load: a change of one stops both, and no write is lost."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from lastgood.bootstrap.service import Service
from lastgood.domain.rollout import Mark, RolloutState
from lastgood.domain.unit import UnitId
from tests.journey.conftest import wait_for
from tests.journey.driving import begin, deploy, deploy_well, end_of, kill_runner
from tests.journey.page import page
from tests.journey.world import DEV, World

ERP = UnitId("erp", "dev", "us")
WRITER = """
import signal, sys, time
import psycopg
url, log = sys.argv[1], open(sys.argv[2], "a")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
number = time.time_ns()
while True:
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            while True:
                number += 1
                connection.execute("INSERT INTO orders (id, note) VALUES (%s, 'erp')", (number,))
                log.write(f"{number} {time.time()}\\n")
                log.flush()
                time.sleep(0.005)
    except psycopg.Error:
        time.sleep(0.05)
"""
SERVICE = """
owner: team-erp
environments: [dev]
artifact: {path: app}
runtime: process
databases: [orders]
roles:
  worker:
    command: ["%(python)s", "-B", "{artifact}/app.py", "%(url)s", "%(log)s"]
    stop_grace: 2s
windows: {watch: 0s, guard: 0s, verify: 0s}
"""
NEXT = "(SELECT coalesce(max(id), 0) + 1 FROM orders)"
JOURNEY = f"INSERT INTO orders (id, note) VALUES ({NEXT}, '%s');\n"
CHANNEL = (
    "ALTER TABLE orders ADD COLUMN channel text;\n"
    "ALTER TABLE orders ADD CONSTRAINT channel_said CHECK (channel IS NOT NULL OR note = 'erp') NOT VALID;\n",
    "SELECT channel FROM orders WHERE false;\n",
    "ALTER TABLE orders DROP COLUMN channel;\n",
)
"""The page's old code can't write any more, the other service can."""


@pytest.fixture
def world(shop: World) -> World:
    log = shop.root / "written"
    words = {"python": sys.executable, "url": shop.database_url, "log": log}
    shop.write("services/erp/service.yaml", SERVICE % words)
    shop.write("services/erp/app/app.py", WRITER)
    shop.write("databases/orders/journey.sql", JOURNEY % "written")
    shop.write("databases/orders/journeys/erp.sql", JOURNEY % "erp")
    database = shop.estate / "databases/orders/database.yaml"
    database.write_text(database.read_text().replace("users: [page]", "users: [page, erp]"))
    shop.watch = shop.guard = "500ms"
    shop.commit("with the other service", text="one")
    return shop


def written(world: World) -> dict[int, float]:
    """Acknowledged to the other service: id → seconds."""
    lines = (Path(world.root) / "written").read_text().splitlines()
    return {int(line.split()[0]): float(line.split()[1]) for line in lines if " " in line}


def done(service: Service, rollout: str, step: str, mark: Mark = Mark.DONE) -> datetime | None:
    entries = service.show(rollout)[0].entries
    return next((e.at for e in entries if e.step == step and e.mark is mark), None)


def assert_quiet(world: World, service: Service, rollout: str, before: str, after: str) -> None:
    """Nothing was written from the end of one step to the beginning of another; before and after it was."""
    stopped, started = done(service, rollout, before), done(service, rollout, after, Mark.INTENT)
    assert stopped is not None
    assert started is not None
    times = sorted(written(world).values())
    assert [t for t in times if stopped.timestamp() < t < started.timestamp()] == []
    assert times[0] < stopped.timestamp()
    assert times[-1] > started.timestamp()


@contextmanager
def visitors(world: World) -> Iterator[list[tuple[int, str]]]:
    """Somebody who asks all the time; yields (status, Retry-After) of every answer, as they come."""
    seen: list[tuple[int, str]] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.02):
            connection = http.client.HTTPConnection("127.0.0.1", world.ports["dev"], timeout=5)
            connection.request("GET", "/page")
            answer = connection.getresponse()
            seen.append((answer.status, answer.headers.get("Retry-After", "")))
            connection.close()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        over.set()
        asking.join(20)


def test_no_write_of_the_other_unit_is_lost_there_and_back(world: World) -> None:
    deploy_well(world)
    service = world.service()
    assert deploy(world, ERP).state is RolloutState.UNVERIFIED, "it has no criteria"
    service.accept(ERP, "it writes")
    world.migration("0002_channel", CHANNEL)
    world.write("databases/orders/journey.sql", JOURNEY.replace("note)", "note, channel)") % "new', 'web")
    world.commit("channel", text="two", broken=True)
    plan = service.plan(DEV)
    assert plan.stops == (ERP,)
    with visitors(world) as seen:
        forward = begin(world)
        wait_for(lambda: done(service, forward.id, f"fence:{ERP}"))
        kill_runner(world)
        end = end_of(world, forward.id)
    assert {status for status, _ in seen} <= {200, 500, 503}, "500 is what the broken one says"
    assert {again for status, again in seen if status == 503} == {"5"}
    assert (end.id, end.state) == (f"{forward.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert_quiet(world, service, forward.id, f"fence:{ERP}", f"lift:workers:{ERP}")
    assert_quiet(world, service, end.id, f"back:fence:{ERP}", f"back:lift:workers:{ERP}")
    assert page(world.ports["dev"]) == {"status": "200", "text": "one"}
    count = len(written(world))
    wait_for(lambda: len(written(world)) > count + 20)
    acknowledged = written(world)
    with psycopg.connect(world.database_url) as connection:
        there = {row[0] for row in connection.execute("SELECT id FROM orders").fetchall()}
        columns = connection.execute("SELECT * FROM orders LIMIT 0").description
    assert acknowledged.keys() <= there
    assert [column.name for column in columns or ()] == ["id", "note"]
    (erp,) = service.status(ERP)
    assert erp.rollout is None or not erp.rollout.state.is_open
