"""restore on the command line: what is asked, what is refused, its data and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock, patch

import psycopg
import pytest
from rich.console import Console, RenderableType

from lastgood.cli import restore as command
from lastgood.cli.expire import lines_of
from lastgood.cli.restore_view import restore_view
from lastgood.cli.session import Session
from lastgood.cli.status_view import status_view
from lastgood.cli.words import state_word
from lastgood.domain.capture import Capture
from lastgood.domain.criterion import GateResult, Verdict
from lastgood.domain.expiry import DatabaseExpiry
from lastgood.domain.message import Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.release import DatabaseTarget
from lastgood.domain.restore_plan import RestorePlan
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.domain.salvage import Neighbours, TableWrites, WritesSince
from lastgood.domain.status import UnitStatus
from lastgood.domain.unit import Target
from lastgood.drivers.postgresql.driver import PostgresqlDriver, create
from lastgood.planning.restoring import CopySource, plan_restore
from lastgood.testing.conformance_migrates import script
from lastgood.testing.fake_files import FakeTools
from lastgood.translation import translator
from tests.actions.theatre import UNIT as SHOP
from tests.actions.theatre import release
from tests.cli.conftest import Cli
from tests.journey.driving import deploy, deploy_well
from tests.journey.ordering import SPOILS, logical_server, ordering_world, rows
from tests.journey.world import World

UNIT = "page@dev/us"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with logical_server(tmp_path / "pg") as server, ordering_world(tmp_path, server) as made:
        yield made


def test_what_is_refused_what_is_lost_and_what_comes_back(world: World, cli: Cli) -> None:
    text = (world.estate / "databases/orders/database.yaml").read_text()
    more = "keep: [items]\nsettings: {copy: warm}\n"
    world.write("databases/orders/database.yaml", text + more)
    world.commit("keeps items", text="one")
    deploy_well(world)
    assert "no writes are being kept" in cli("restore", UNIT, "--yes", code=7).stderr
    world.migration("0002_prices", SPOILS)
    world.commit("spoils", text="two", broken=True)
    seen = cli("plan", UNIT, COLUMNS="400").stdout
    assert "Copy of orders@dev/us: warm, loaded beside the live database" in seen
    assert "because the settings say copy: warm" in seen
    deploy(world)
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO orders (item, who) VALUES (1, 'ann')")
    assert "not a terminal" in cli("restore", UNIT, code=2).stderr
    assert "other@" not in cli("restore", UNIT, "--database", "other", "--yes", code=7).stdout
    seen = cli.data("plan", UNIT, "--restore")
    assert (seen["costs"], seen["plan"]["kind"]) == (True, "restore")
    assert [t["table"] for t in seen["writes"]["tables"]] == ["orders"]
    assert "orders (1)" in cli("restore", UNIT, "--yes", code=7).stderr
    assert "needs a reason" in cli("restore", UNIT, "--forget", code=2).stderr
    status = cli.data("status", UNIT)
    assert status["units"][0]["captures"][0]["resource"] == "orders@dev/us"
    assert status["writes"][0]["held"] > 0
    assert status["writes"][0]["warm"]["size"] > 1 << 20
    assert "orders@dev/us: a warm copy stands by" in cli("status", UNIT, COLUMNS="200").stdout
    assert "A warm copy of orders@dev/us stands by" in cli("plan", UNIT, "--restore", COLUMNS="300").stdout
    with patch.object(Session, "asks", new=True), patch("typer.confirm", return_value=False) as asked:
        assert "Nothing was done" in cli("restore", UNIT, code=1).stdout
    assert "1 rows stay in the failed database only" in asked.call_args.args[0]
    said = cli("restore", UNIT, "--yes", "--accept-loss", "--json").stdout.splitlines()
    first, *_, last = [json.loads(line) for line in said]
    assert (first["event"], last["event"], last["exit_code"]) == ("accepted", "end", 0)
    assert last["rollout"]["state"] == "verified"
    assert {row[0] for row in rows(world, "SELECT price FROM items")} == {101, 102, 103, 104, 105}
    assert rows(world, "SELECT who FROM orders") == []
    ((failed,),) = [[q["name"]] for q in cli.data("quarantine", "list") if q["kind"] == "database"]
    assert failed in cli("status", UNIT, COLUMNS="200").stdout
    assert "may be dropped" in cli("quarantine", "lift", failed, "--reason", "nobody needs it").stdout
    assert "set aside by the restore" in cli(
        "quarantine", "add", "database", "x", "--reason", "y", code=2
    ).stderr  # fmt: skip
    old_values_go_when_a_person_has_seen_them(world, cli)


def old_values_go_when_a_person_has_seen_them(world: World, cli: Cli) -> None:
    assert "nothing says after how many days" in cli("expire", UNIT, code=2).stderr
    gift = script("0009_gift", "ALTER TABLE orders ADD gift text", "SELECT gift FROM orders",
                  "ALTER TABLE orders DROP gift")  # fmt: skip
    driver = create(SHOP, {"url": world.database_url}, FakeTools(world.root))
    assert isinstance(driver, PostgresqlDriver)
    driver.deploy(gift, "k")
    with psycopg.connect(world.database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO orders (item, who, gift) VALUES (1, 'ann', 'ring')")
        driver.revert(gift, "k")
        connection.execute("UPDATE lastgood.kept SET kept_at = kept_at - interval '90 days'")
    seen = cli("expire", UNIT, "--older-than", "30", COLUMNS="200").stdout
    assert "put aside by the revert of 0009_gift: 1 rows of orders.gift; they are nowhere else" in seen
    assert "Nothing was discarded." in seen
    planned = cli.data("expire", UNIT, "--older-than", "30")
    assert [(r["kind"], r["rows"]) for r in planned["databases"][0]["aside"]] == [("kept", 1)]
    assert not planned["done"]
    assert "go with a reason only" in cli("expire", UNIT, "--older-than", "30", "--yes", code=2).stderr
    words = ("expire", UNIT, "--older-than", "30", "--yes", "--reason", "30 days")
    assert "orders@dev/us: 0 dumps and 1 records are gone" in cli(*words).stdout
    assert "nothing that may go" in cli(*words).stdout
    recorded = [record["verb"] for record in cli.data("audit", "list", "--limit", "2")]
    assert recorded == ["expire", "expire"]


def test_what_may_be_nowhere_else_is_said_of_a_dump_from_a_way_back() -> None:
    dumps = [Snapshot(f"s{n}", "shop@prod", "/p", "0/1", "f", NOW, expires=n > 1) for n in (1, 2)]
    _, back, there = lines_of(translator("en"), DatabaseExpiry("shop@prod", NOW, dumps))
    assert "s1; it may hold what is nowhere else" in back.plain
    assert "nowhere" not in there.plain


def planned(*tables: TableWrites, complete: bool = True) -> RestorePlan:
    capture = Capture("s1", "shop@prod", str(SHOP), "r1", NOW, ("0001",), ("0002_prices",))
    database = DatabaseTarget("shop@prod", Target("postgresql"))
    plan = plan_restore(release("x"), database, capture, (release("x"),), lambda kind: (), CopySource())
    snapshot = Snapshot("s1", "shop@prod", "/p", "0/1", "f", NOW)
    reasons = () if complete else (Message("the slot was lost"),)
    writes = WritesSince("s1", complete, tables, reasons)
    return RestorePlan(plan, capture, snapshot, writes, {"orders": {"en": "orders taken", "zh": "订单"}})


def drawn(plan: RestorePlan, language: str = "en") -> str:
    return shown(restore_view(translator(language), plan))


def shown(view: RenderableType) -> str:
    console = Console(width=120)
    with console.capture() as said:
        console.print(view)
    return " ".join(said.get().split())


def test_each_table_by_its_name_and_what_becomes_of_it() -> None:
    told = drawn(planned(TableWrites("orders", 37, 2, 1), TableWrites("visits", 9, kept=False)))
    assert "orders taken orders 37 2 1 carried over" in told
    assert "visits 9 0 0 stays in the failed database only" in told
    assert "订单" in drawn(planned(TableWrites("orders", 1)), "zh_CN")


def test_who_stays_with_the_failed_database_is_shown_and_asked_about() -> None:
    left = Neighbours(left=(Message("the slot cdc stays"),))
    plan = replace(planned(), neighbours=left)
    assert "! the slot cdc stays" in drawn(plan)
    assert plan.costs
    with patch("lastgood.cli.change.ask") as asked:
        command._ask(Mock(), plan)
    assert "stays with the failed database. Go back?" in asked.call_args.args[1]


def test_nothing_is_said_to_be_nothing_only_where_that_is_known() -> None:
    assert "nothing was written since" in drawn(planned())
    told = drawn(planned(complete=False))
    assert "inconclusive" in told
    assert "the slot was lost" in told
    assert "nothing was written" not in told


def test_a_restore_that_stopped_is_not_called_restored() -> None:
    plan = planned().plan
    request = Request("r", "o", "i", "ann", NOW)
    gate = GateResult(Verdict.FAILED, ())
    done = Rollout(
        "r1", PlanKind.RESTORE, SHOP, "a", "a", plan, request, RolloutState.VERIFIED, NOW, gate=gate
    )
    words = {
        RolloutState.VERIFIED: "restored, verified",
        RolloutState.FAILED: "restored, still bad",
        RolloutState.RETURNED: "not restored",
    }
    assert {state: state_word(replace(done, state=state))[0] for state in words} == words
    for unmoved in (replace(done, undoes="r0"), replace(done, gate=None)):
        assert state_word(replace(unmoved, state=RolloutState.FAILED))[0] == "not restored"


@pytest.mark.parametrize(
    ("kind", "state", "said"),
    [
        (PlanKind.RESTORE, RolloutState.INCOMPLETE, "the restore stopped. See: lastgood show r1."),
        (PlanKind.RESTORE, RolloutState.UNVERIFIED, "another cause, lastgood show r1; don't roll back"),
        (PlanKind.ROLLBACK, RolloutState.INCOMPLETE, "then: lastgood rollback shop@prod/us"),
        (PlanKind.DEPLOY, RolloutState.UNVERIFIED, "Bad: lastgood rollback shop@prod/us"),
    ],
)
def test_after_a_restore_nobody_is_told_to_roll_back(kind: PlanKind, state: RolloutState, said: str) -> None:
    request = Request("r", "o", "i", "ann", NOW)
    rollout = Rollout("r1", kind, SHOP, "a", "a", planned().plan, request, state, NOW)
    status = UnitStatus(
        SHOP, "a", "c", NOW, rollout, None, "", "", watched=True, watched_until=NOW, observed_at=NOW
    )
    told = shown(status_view(translator("en"), [status], detailed=True))
    assert said in told
    assert ("lastgood rollback" in told) is (kind is not PlanKind.RESTORE)


@pytest.mark.parametrize(
    ("plan", "accepts"),
    [(planned(), False), (planned(TableWrites("visits", 9, kept=False)), True)],
    ids=["nothing", "visits"],
)
def test_a_plain_yes_accepts_no_loss_that_was_not_shown(plan: RestorePlan, accepts: bool) -> None:
    with (
        patch.object(command, "Session") as session,
        patch.object(command, "_shown", return_value=plan),
        patch.object(command, "_ask"),
    ):
        command.restore(Mock(), str(SHOP), detach=True)
    asked = session.return_value.service.databases.restore.call_args.kwargs
    assert asked["accept_loss"] is accepts
