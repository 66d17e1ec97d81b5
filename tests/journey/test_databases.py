"""Schema changes as part of a change: rehearsed, refused, reverted, and never half done."""

from __future__ import annotations

import threading

import psycopg
import pytest

from lastgood.domain.errors import InvalidInput, NotReversible, Rejected
from lastgood.domain.rollout import RolloutState
from lastgood.testing.postgres_server import PostgresServer
from tests.journey.driving import begin, deploy_well, end_of
from tests.journey.page import page
from tests.journey.world import DEV, GIFT, World


@pytest.fixture
def world(shop: World) -> World:
    """These journeys are all of a shop with a database."""
    return shop


def columns(world: World) -> list[str]:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' ORDER BY 1"
    with psycopg.connect(world.database_url) as connection:
        return [row[0] for row in connection.execute(query)]


def test_all_three_go_back_together_and_nothing_that_was_written_is_lost(world: World) -> None:
    deploy_well(world)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO orders VALUES (1, 'before')")
    world.migration("0002_gift", GIFT)
    world.commit("bad", text="bad", broken=True)
    failed = begin(world)
    end = end_of(world, failed.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert columns(world) == ["id", "note"]
    assert page(world.ports["dev"])["text"] == "one"
    with psycopg.connect(world.database_url) as connection:
        assert connection.execute("SELECT * FROM orders").fetchall() == [(1, "before")]
    steps = [e.step for e in world.service().show(end.id)[0].entries if e.mark.value == "done"]
    assert steps.index("back:shift") < steps.index("back:revert:orders@dev/us:0002_gift")
    kept = [s for s in steps if s.startswith("back:snapshot")]
    assert kept, "what the revert removes is kept in a snapshot first"


SPOILT = ("UPDATE orders SET note = 'spoilt';\n", "SELECT note FROM orders;\n", "-- lastgood: undo rows\n")


def customer(url: str, over: threading.Event) -> None:
    """Mends one row as soon as it is spoilt."""
    with psycopg.connect(url, autocommit=True) as connection:
        while not over.is_set():
            connection.execute("UPDATE orders SET note = 'mine' WHERE id = 2 AND note = 'spoilt'")
            over.wait(0.02)


def test_spoilt_rows_go_back_by_themselves_but_for_one_that_was_mended_since(world: World) -> None:
    deploy_well(world)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO orders VALUES (1, 'one'), (2, 'two'), (3, NULL)")
        connection.execute("CREATE TABLE bare (n int)")
    # Rows of a table without a key are not promised back.
    world.migration("0002_spoil", ("UPDATE bare SET n = 1;\n", *SPOILT[1:]))
    world.commit("bare")
    with pytest.raises(NotReversible, match="bare has no primary key"):
        begin(world)
    world.migration("0002_spoil", SPOILT)
    world.commit("bad", text="bad", broken=True)
    over = threading.Event()
    mending = threading.Thread(target=customer, args=(world.database_url, over))
    mending.start()
    try:
        failed = begin(world)
        end = end_of(world, failed.id)
    finally:
        over.set()
        mending.join()
    notes = [str(note) for note in failed.plan.notes]
    assert any(n.startswith("0002_spoil moves data, and going back undoes it row by row") for n in notes)
    assert any("writes every row of orders" in n and "blocks writes" in n for n in notes)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert "changed since and were not undone: orders 1" in str(end.outcome)
    with psycopg.connect(world.database_url) as connection:
        rows = connection.execute("SELECT * FROM orders ORDER BY id").fetchall()
        listed = connection.execute("SELECT was->>'note', found->>'note' FROM lastgood.undo_conflicts")
        assert (rows, listed.fetchall()) == ([(1, "one"), (2, "mine"), (3, None)], [("two", "mine")])
    # What a unit has is not warned of any more: nobody may edit it.
    reviewed, hurting = world.service().review()
    assert {r.migration: r.deployed for r in reviewed} == {"0001_init": True, "0002_spoil": False}
    assert [p.path for p in hurting] == ["databases/orders/migrations/0002_spoil/deploy.sql"]


@pytest.mark.parametrize(
    ("revert", "told"),
    [
        ("", "empty"),
        ("SELECT 1;\n", "orders.gift"),
        ("ALTER TABLE orders DROP COLUMN no_such_column;\n", "no_such_column"),
    ],
)
def test_a_revert_that_does_not_bring_the_schema_back_is_refused_before_anything(
    world: World, revert: str, told: str
) -> None:
    deploy_well(world)
    world.migration("0002_gift", (GIFT[0], GIFT[1], revert))
    world.commit("second", text="two")
    # An empty script is found by lint already, the others by the rehearsal.
    with pytest.raises((InvalidInput, NotReversible, Rejected), match=told):
        begin(world)
    if revert:
        # Without one before the plan the rollout rehearses, and ends there.
        later = begin(world, rehearse=False)
        end = end_of(world, later.id)
        assert end.state is RolloutState.FAILED
        assert told in str(end.outcome)
    assert columns(world) == ["id", "note"]
    assert page(world.ports["dev"])["text"] == "one"


def test_what_cannot_be_parsed_is_forward_only_and_refused(world: World) -> None:
    deploy_well(world)
    script = "DO $$ BEGIN EXECUTE 'ALTER TABLE orders ADD COLUMN gift text'; END $$;\n"
    world.migration("0002_gift", (script, GIFT[1], GIFT[2]))
    world.commit("second", text="two")
    with pytest.raises(NotReversible) as caught:
        begin(world)
    assert "0002_gift" in str(caught.value)


def test_a_locked_table_names_who_holds_it_and_the_unit_stays_whole(world: World) -> None:
    declared = (world.estate / "databases/orders/database.yaml").read_text()
    world.write("databases/orders/database.yaml", declared + "settings: {lock_deadline: 2}\n")
    world.commit("it gives up soon")
    deploy_well(world)
    world.migration("0002_gift", GIFT)
    world.commit("second", text="two")
    with psycopg.connect(world.database_url, application_name="nightly-report") as blocker:
        blocker.execute("SELECT * FROM orders")
        failed = begin(world)
        end = end_of(world, failed.id)
        told = str(world.service().show(failed.id)[0].rollout.outcome)
        assert "nightly-report" in told
        assert str(blocker.info.backend_pid) in told
    assert end.state in (RolloutState.VERIFIED, RolloutState.FAILED), str(end.outcome)
    assert columns(world) == ["id", "note"]
    assert page(world.ports["dev"])["text"] == "one"
    assert world.service().drift(DEV) == ()


def test_a_password_is_a_secret_of_the_release_and_nowhere_in_clear(
    world: World, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "correct-horse-battery"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS shopkeeper")
        connection.execute(f"CREATE ROLE shopkeeper LOGIN CREATEDB PASSWORD '{password}'")
        connection.execute("ALTER DATABASE orders OWNER TO shopkeeper")
    server.admit("host all shopkeeper 127.0.0.1/32 scram-sha-256")
    monkeypatch.setenv("ORDERS_PASSWORD", password)
    url = server.url("orders").replace("postgres@", "shopkeeper@")
    text = f"driver: postgresql\nscope: site\nowner: team-shop\nusers: [page]\nurl: {url}\n"
    world.write("databases/orders/database.yaml", text + "password: {env: ORDERS_PASSWORD}\n")
    world.commit("with a password")
    deploy_well(world)
    monkeypatch.delenv("ORDERS_PASSWORD")
    world.service().status(DEV)
    hits = [f for f in world.root.rglob("*") if f.is_file() and password.encode() in f.read_bytes()]
    assert hits == []


def test_what_moved_data_stays_when_going_back_the_next_day(world: World) -> None:
    deploy_well(world)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO orders VALUES (1, 'before')")
    moves = (
        "UPDATE orders SET note = upper(note);\n",
        "SELECT note FROM orders WHERE false;\n",
        "UPDATE orders SET note = lower(note);\n",
    )
    world.migration("0002_upper", moves)
    world.commit("second", text="two")
    deploy_well(world)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO orders VALUES (2, 'Written SINCE')")
    plan = world.service().plan_rollback(DEV)
    assert plan.difference.reverts == ()
    assert any("0002_upper stays" in str(note) for note in plan.notes)
    assert end_of(world, world.service().rollback(DEV)).state is RolloutState.VERIFIED
    assert page(world.ports["dev"])["text"] == "one"
    with psycopg.connect(world.database_url) as connection:
        rows = connection.execute("SELECT note FROM orders ORDER BY id").fetchall()
    assert rows == [("BEFORE",), ("Written SINCE",)]
