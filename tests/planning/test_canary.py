"""Shares, room, draining and pruning as steps of a plan: where they stand, and how they are undone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lastgood.domain.criterion import Criterion, Signal, SignalKind
from lastgood.domain.plan import Difference, Plan, PlanKind, Reversibility, Step, StepKind
from lastgood.domain.release import CanaryStep, Keep, Release, RoleSpec, Windows
from lastgood.domain.unit import Role, Target, UnitId
from lastgood.planning.canary import criteria_of_generation
from lastgood.planning.moves import Move, begun, plan_deploy, plan_heal, plan_rollback

SHARES = (CanaryStep(5.0, 60.0), CanaryStep(25.0, 120.0))


def criterion(name: str, driver: str, **settings: Any) -> Criterion:
    return Criterion(name, Signal(name, SignalKind.RATIO, driver, settings), 0.95, 5.0, 20)


def release(upstream: str = "", **changes: Any) -> Release:
    whole = Release(
        UnitId("storefront", "prod", "us"), "c1",
        roles=(RoleSpec(Role.WEB, ("web",)), RoleSpec(Role.WORKER, ("worker",))),
        files_target=Target("files"), runtime=Target("docker"), traffic=Target("haproxy"),
        criteria=(criterion("answers", "haproxy"),), upstream=upstream,
    )  # fmt: skip
    return replace(whole, **changes)


BASE, TARGET = release(), release(canary=SHARES)
BASELINE = Release(BASE.unit, "", traffic=BASE.traffic, origin="baseline")


def move(base: Release = BASE, target: Release = TARGET, *, drains: bool = True) -> Move:
    return Move(base, target, (), {}, lambda kind: (1.0,), Difference(), drains=drains)


def ids(plan: Plan) -> list[str]:
    return [step.id for step in plan.steps]


def step(plan: Plan, kind: StepKind) -> Step:
    return next(s for s in (*plan.steps, *plan.way_back) if s.kind is kind)


def test_the_order() -> None:
    plan = plan_deploy(move(target=replace(TARGET, keep=Keep(3))))
    assert ids(plan) == [
        "observe", "room", "files", "start", "split:5", "canary:5", "split:25", "canary:25", "switch",
        "shift", "workers", "watch", "drain", "guard", "keep", "retire", "prune",
    ]  # fmt: skip


def test_each_is_only_planned_where_it_is_asked_for() -> None:
    plain = ids(plan_deploy(move(target=release(windows=Windows(watch=1.0)), drains=False)))
    assert {"drain", "prune"}.isdisjoint(plain)
    assert not [name for name in plain if name.startswith(("split", "canary"))]


def test_a_share_knows_its_time_and_how_long_at_most() -> None:
    plan = plan_deploy(move())
    watched = step(plan, StepKind.WATCH_CANARY)
    assert (watched.params["seconds"], watched.params["at_most"]) == (60.0, 180.0)
    assert watched.estimate.seconds == 60.0
    assert step(plan, StepKind.SPLIT_TRAFFIC).reversibility is Reversibility.WARM
    assert [str(note) for note in plan.notes if "up to 3 times as long" in str(note)]


@pytest.mark.parametrize(
    ("began", "undone"),
    [
        ({"start"}, ["back:evidence", "back:stop", "verify"]),
        ({"start", "split:5"}, ["back:start", "back:shift", "back:evidence", "back:stop", "verify"]),
        ({"start", "split:5", "canary:5", "split:25"},
         ["back:start", "back:shift", "back:evidence", "back:stop", "verify"]),
        ({"start", "split:5", "split:25", "switch", "shift"},
         ["back:start", "back:shift", "back:evidence", "back:switch", "back:stop", "verify"]),
    ],
)  # fmt: skip
def test_any_share_is_undone_by_the_one_shift_back(began: set[str], undone: list[str]) -> None:
    assert [s.id for s in begun(plan_deploy(move()).way_back, frozenset(began))] == undone


def test_forward_drains_and_back_cuts() -> None:
    plan = plan_deploy(move())
    assert [s.params["leave"] for s in plan.steps if s.kind is StepKind.SHIFT_TRAFFIC] == ["drain"]
    assert [s.params["leave"] for s in plan.way_back if s.kind is StepKind.SHIFT_TRAFFIC] == ["cut"]
    rollback = plan_rollback(move(TARGET, BASE))
    assert rollback.kind is PlanKind.ROLLBACK
    assert [s.params["leave"] for s in rollback.steps if s.kind is StepKind.SHIFT_TRAFFIC] == ["cut"]
    assert step(plan_heal(move(BASE, BASE)), StepKind.SHIFT_TRAFFIC).params["leave"] == "drain"


def test_nothing_that_serves_has_nothing_to_share_with() -> None:
    plan = plan_deploy(move(BASELINE))
    assert not [name for name in ids(plan) if name.startswith(("split", "canary", "drain"))]
    assert [str(note) for note in plan.notes if str(note).startswith("No canary")]


def test_a_baseline_that_serves_keeps_its_share() -> None:
    plan = plan_deploy(move(replace(BASELINE, upstream="10.0.0.1:80")))
    assert {"split:5", "canary:5", "split:25", "canary:25", "drain"} <= set(ids(plan))


def test_only_what_the_proxy_answers_is_asked_for_the_generation_alone() -> None:
    whole = (criterion("orders", "postgresql", resource="shop@prod/us"), criterion("pages", "http", path="/"))
    target = replace(TARGET, criteria=(*TARGET.criteria, *whole))
    scoped = {c.name: c.signal.settings.get("generation") for c in criteria_of_generation(target, "g1")}
    assert scoped == {"answers": "g1", "orders": None, "pages": None}
    notes = [str(note) for note in plan_deploy(move(target=target)).notes]
    assert [note for note in notes if "orders, pages can't tell" in note]


def test_room_is_not_asked_for_what_takes_nobodys_place_or_is_there() -> None:
    assert "room" not in ids(plan_deploy(move(target=replace(TARGET, runtime=None))))
    assert "room" not in ids(plan_deploy(move(target=replace(TARGET, roles=TARGET.roles[1:]))))
    assert "room" not in ids(plan_rollback(move(TARGET, BASE)))


def test_what_came_later_leaves_older_digests_as_they_were() -> None:
    assert Windows() == Windows(drain=30.0)
    assert release().digest == replace(release(), windows=Windows(drain=30.0)).digest
    assert release().digest != replace(release(), windows=Windows(drain=31.0)).digest
