"""What takes away the shape that older code needs comes after the last wave, and goes back first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lastgood.actions.accepting import accept_plan
from lastgood.actions.deploy_many import deploy_many
from lastgood.actions.plan_change import PlannedChange
from lastgood.actions.plan_many import plan_many, select
from lastgood.actions.rollback import plan_way_back
from lastgood.actions.rollback_many import rollback_many
from lastgood.domain.change import ChangeState
from lastgood.domain.errors import Conflict, InvalidInput, NotReversible
from lastgood.domain.plan import Plan, PlanKind, StepKind
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.domain.unit import Environment, UnitId
from tests.waves.test_shared_migration import RESOURCE, UNITS, Estate, Shop

EXPAND = ("0001_init", "0002_gift")
CONTRACT = (*EXPAND, "0003_drop")


@pytest.fixture
def shop() -> Iterator[Shop]:
    """In memory: what a disk does to a store is tested elsewhere."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="lastgood-waves-") as directory:
        made = Shop(Path(directory))
        made.estate.window, made.estate.size = 0.06, 3
        assert made.state(made.deploy("0001_init")) is ChangeState.VERIFIED
        yield made
        made.store.close()


def plan(shop: Shop, *names: str, text: str) -> tuple[list[str], list[str]]:
    """What a change over all units would migrate, and which notes say what waits."""
    shop.estate.names, shop.estate.text = names, text
    planned = plan_many(shop.context, select(shop.context, ["page@prod/*"]))
    notes = [str(note) for one in planned.units for note in one.plan.notes]
    migrates = [name for one in planned.units for name in one.plan.difference.migrations]
    return migrates, [note for note in notes if "comes after the last wave" in note]


def expanded(shop: Shop) -> str:
    change = shop.deploy(*CONTRACT, text="two")
    assert shop.state(change) is ChangeState.VERIFIED
    assert shop.applied() == list(EXPAND)
    return change


def contracted(shop: Shop) -> tuple[str, str]:
    """Two changes, by the same command."""
    first = expanded(shop)
    second = shop.deploy(*CONTRACT, text="two")
    assert shop.state(second) is ChangeState.VERIFIED
    assert shop.applied() == list(CONTRACT)
    return first, second


def test_it_waits_while_anybody_is_on_code_from_before(shop: Shop) -> None:
    migrates, waits = plan(shop, *CONTRACT, text="two")
    assert migrates == [f"{RESOURCE} 0002_gift"]
    assert len(waits) == len(UNITS)
    assert all(f"0003_drop of {RESOURCE}" in note and str(unit) in note for note in waits for unit in UNITS)
    with pytest.raises(InvalidInput, match="0004_more lies above 0003_drop"):
        plan(shop, *CONTRACT, "0004_more", text="two")


def test_the_same_command_again_runs_it_once_and_moves_nothing_else(shop: Shop) -> None:
    expanded(shop)
    planned = plan_many(shop.context, select(shop.context, ["page@prod/*"]))
    assert [one.plan.difference.migrations for one in planned.units] == [(f"{RESOURCE} 0003_drop",)]
    assert planned.plan.left == UNITS[1:]
    contracted_by = shop.deploy(*CONTRACT, text="two")
    assert shop.applied() == list(CONTRACT)
    assert shop.did(StepKind.MIGRATE) == ["us", "us", "us"]
    assert shop.state(contracted_by) is ChangeState.VERIFIED


def test_one_unit_that_is_left_behind_holds_it(shop: Shop) -> None:
    shop.estate.names, shop.estate.text = CONTRACT, "two"
    change = deploy_many(
        shop.context, ["page@prod/us", "page@prod/de"], reason="gifts", owner="team", impact="carts"
    )
    shop.finish(change.id)
    with pytest.raises(InvalidInput, match=f"on .* now: 0003_drop .* {UNITS[2]} is on code"):
        plan_many(shop.context, select(shop.context, ["page@prod/us", "page@prod/de"]))
    migrates, waits = plan(shop, *CONTRACT, text="two")
    assert migrates == []
    assert len(waits) == 1, "the one that is behind goes on"


def opened(shop: Shop, plan: Plan) -> None:
    """A rollout of it is at work."""
    request = Request("r", "team", "x", "ann", shop.clock.now())
    rollout = Rollout(
        f"r-open-{plan.unit.site}", plan.kind, plan.unit, plan.base, plan.target, plan, request,
        RolloutState.GUARDING, shop.clock.now(),
    )  # fmt: skip
    with shop.store.write() as unit:
        unit.rollouts.add(rollout)


def who_falls_behind_while_it_is_brought_is_told(shop: Shop, bringing: PlannedChange) -> None:
    back, target = plan_way_back(shop.context, UNITS[1])
    with shop.store.write() as unit:
        unit.releases.put(bringing.release)
    opened(shop, bringing.plan)
    request = Request("r", "team", "x", "ann", shop.clock.now())
    with pytest.raises(Conflict, match=f"r-open-us brings 0003_drop to {RESOURCE}"):
        accept_plan(shop.context, back, target, request)
    with shop.store.write() as unit:
        unit.rollouts.move("r-open-us", RolloutState.FAILED)


def test_who_may_go_back_by_itself_holds_it_too(shop: Shop) -> None:
    """In a guard window a unit is on the new release, and its way back leads to the old one."""
    with shop.store.read() as unit:
        old = unit.releases.current(UNITS[1])
    expanded(shop)
    planned = plan_many(shop.context, select(shop.context, ["page@prod/*"]))
    who_falls_behind_while_it_is_brought_is_told(shop, planned.units[0])
    with shop.store.read() as unit:
        new = unit.releases.current(UNITS[1])
    opened(shop, Plan(PlanKind.DEPLOY, UNITS[1], old, new, "two", ()))
    with pytest.raises(InvalidInput, match="nothing to change"):
        plan_many(shop.context, select(shop.context, ["page@prod/*"]))
    (one,) = planned.units
    request = Request("r", "team", "x", "ann", shop.clock.now())
    with pytest.raises(Conflict, match=f"{UNITS[1]} is on code from before 0003_drop, or may go back"):
        accept_plan(shop.context, one.plan, one.release, request)


def test_the_way_back_takes_it_out_before_older_code_comes(shop: Shop) -> None:
    first, second = contracted(shop)
    with pytest.raises(NotReversible, match=r"0003_drop took from .* and stays there") as caught:
        plan_way_back(shop.context, UNITS[1])
    assert f"lastgood rollback {UNITS[0]}" in str(caught.value.todo)
    alone = rollback_many(shop.context, first)
    shop.finish(alone)
    assert shop.state(alone) is ChangeState.INCOMPLETE, "the first of the two does not go back alone"
    assert shop.applied() == list(CONTRACT)
    back = rollback_many(shop.context, second)
    shop.finish(back)
    assert shop.state(back) is ChangeState.VERIFIED
    assert shop.applied() == list(EXPAND)
    back = rollback_many(shop.context, first)
    shop.finish(back)
    assert shop.state(back) is ChangeState.VERIFIED
    assert shop.applied() == ["0001_init"]


def test_past_both_it_stops_every_writer_first(shop: Shop) -> None:
    contracted(shop)
    with shop.store.read() as unit:
        oldest = unit.points.list(UNITS[0])[-1]
    for site in UNITS[1:]:
        with shop.store.write() as unit:
            lone = replace(unit.releases.get(unit.releases.current(site)), databases=())
            unit.releases.put(lone)
            unit.releases.set_current(site, lone.digest, shop.clock.now())
    plan, _ = plan_way_back(shop.context, UNITS[0], oldest.id)
    assert any("0003_drop took from" in str(note) and "stop every writer" in str(note) for note in plan.notes)
    revert = next(s for s in plan.steps if s.params.get("migration") == "0003_drop")
    assert revert.params["has_to_go"]


class TwoEnvironments(Estate):
    """What runs in prod goes to live after it. ``us`` is another service's."""

    def units(self) -> Sequence[UnitId]:
        return (*UNITS[1:], UnitId("page", "live", "de"))


def promoted(shop: Shop) -> tuple[str, ...]:
    """What the plan for the next environment has of the database."""
    both = TwoEnvironments(shop.estate.database, CONTRACT, "two", window=shop.estate.window)
    both.environments = (Environment("prod", 0), Environment("live", 1))
    context = replace(shop.context, estate=both)
    (live,) = plan_many(context, select(context, ["page@live/de"])).units
    return tuple(migration.name for migration in live.release.databases[0].migrations)


def test_whom_another_brought_it_is_promoted_all_the_same(shop: Shop) -> None:
    """It stays on the release that was made without it: nothing is left there to verify."""
    contracted(shop)
    assert promoted(shop) == CONTRACT


def test_what_nobody_brought_is_not_promoted(shop: Shop) -> None:
    expanded(shop)
    with pytest.raises(Conflict, match="was not verified in prod"):
        promoted(shop)


class Grown(Estate):
    """With a unit that was never deployed."""

    def units(self) -> Sequence[UnitId]:
        return (*UNITS, UnitId("page", "prod", "fr"))


def test_a_new_unit_comes_on_no_code_from_before(shop: Shop) -> None:
    contracted(shop)
    estate = Grown(shop.estate.database, EXPAND, "two")
    context = replace(shop.context, estate=estate)
    with pytest.raises(Conflict, match=r"0003_drop took from .* what the code of page@prod/fr needs"):
        plan_many(context, select(context, ["page@prod/fr"]))
    estate.names = CONTRACT
    assert len(plan_many(context, select(context, ["page@prod/fr"])).units) == 1
    # Somebody who had it is without: its scripts left the estate.
    with shop.store.write() as unit:
        had = unit.releases.get(unit.releases.current(UNITS[2]))
        database = replace(had.databases[0], held=())
        unit.releases.put(later := replace(had, databases=(database,), commit="squashed"))
        unit.releases.set_current(UNITS[2], later.digest, shop.clock.now())
    estate.names = EXPAND
    assert len(plan_many(context, select(context, ["page@prod/fr"])).units) == 1
