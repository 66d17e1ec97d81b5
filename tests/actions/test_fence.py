"""Behind a fence: nobody writes while the schema moves, and a closed shop waits for nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lastgood.actions.abilities import generation_id
from lastgood.actions.accepting import accept_plan
from lastgood.actions.rollback import rollback
from lastgood.domain.errors import Rejected
from lastgood.domain.message import Message
from lastgood.domain.release import Release
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.domain.unit import Role
from lastgood.planning.moves import plan_deploy
from tests.actions.rehearsed import (
    RESOURCE,
    Stage,
    strict,
)
from tests.actions.test_killed import Kill, assert_whole, killed_and_resumed
from tests.actions.test_staying_up import fall, happens_in
from tests.actions.theatre import OTHER, UNIT

MOMENTS = ("before effect", "after effect", "after outcome")


def test_behind_the_fence_nobody_writes_while_the_schema_moves(stage: Stage) -> None:
    seen: dict[str, list[str]] = {}

    def looks(moment: str, step: str) -> None:
        if moment == "before effect":
            running = [*stage.theatre.running(Role.WEB), *stage.theatre.running(Role.WORKER)]
            seen[step] = running

    target = strict(stage)
    end = stage.deploy(target, looks)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert seen[f"migrate:{RESOURCE}:0002_next"] == []
    assert_whole(stage.theatre, target)
    back = stage.theatre.run(rollback(stage.theatre.context, UNIT), looks)
    assert back.state is RolloutState.VERIFIED, str(back.outcome)
    assert seen[f"back:revert:{RESOURCE}:0002_next"] == []
    assert_whole(stage.theatre, stage.old)
    assert [row[0] for row in stage.shop.database.applied()] == ["0001_init"]


POINTS = [
    (moment, step)
    for moment in MOMENTS
    for step in ("fence", f"migrate:{RESOURCE}:0002_next", "start", "shift", "workers", "watch")
]
BACK = [
    (moment, step)
    for moment in MOMENTS
    for step in (
        "back:fence", f"back:revert:{RESOURCE}:0002_next", "back:switch", "back:start", "back:shift",
        "back:workers",
    )
]  # fmt: skip


@pytest.mark.parametrize(("moment", "step"), POINTS)
def test_killed_on_the_way_behind_the_fence_it_goes_on(stage: Stage, moment: str, step: str) -> None:
    target = strict(stage)
    kill = Kill(moment, step)
    end = killed_and_resumed(stage.theatre, stage.accept(stage.move(target)), kill)
    assert kill.happened
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert_whole(stage.theatre, target)


@pytest.mark.parametrize(("moment", "step"), BACK)
def test_killed_on_the_way_back_it_is_the_old_one_whole(stage: Stage, moment: str, step: str) -> None:
    target = strict(stage)
    rollout = stage.accept(stage.move(target))
    stage.theatre.proxy.bad.add(generation_id(target))
    kill = Kill(moment, step)
    end = killed_and_resumed(stage.theatre, rollout, kill)
    end = stage.theatre.run(f"{rollout.id}-back") if end.id == rollout.id else end
    assert kill.happened
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert_whole(stage.theatre, stage.old)
    assert [row[0] for row in stage.shop.database.applied()] == ["0001_init"]


def test_a_fence_is_lifted_when_the_migration_fails(stage: Stage) -> None:
    rollout = stage.accept(stage.move(strict(stage)))
    stage.shop.database.fail_next("deploy", Rejected(Message("locked").template))
    end = stage.theatre.run(rollout.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert end.id == f"{rollout.id}-back"
    assert_whole(stage.theatre, stage.old)


def by_hand(stage: Stage, target: Release) -> Rollout:
    """Where a person decides whether a broken gate goes back."""
    move, context = stage.move(target), stage.theatre.context
    plan = replace(plan_deploy(move), automatic=False)
    request = Request("test", "team", "nobody", "ann", context.clock.now())
    return accept_plan(context, plan, move.target, request)


def test_a_closed_shop_waits_for_nobody(stage: Stage) -> None:
    """A person may decide whether a broken gate goes back, but not while nobody is served."""
    rollout = by_hand(stage, strict(stage))
    stage.shop.database.fail_next("deploy", Rejected(Message("locked").template))
    end = stage.theatre.run(rollout.id)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED)
    assert_whole(stage.theatre, stage.old)


@pytest.mark.parametrize("step", ["shift", "workers"])
def test_a_shop_that_could_not_be_opened_is_closed(
    stage: Stage, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step began, and opened nothing."""
    rollout = by_hand(stage, strict(stage))

    def refuse(*asked: object) -> None:
        monkeypatch.undo()
        raise Rejected(Message("refused").template)

    def refuses(moment: str, at: str) -> None:
        if (moment, at) == ("before effect", step):
            part, verb = (
                (stage.theatre.proxy, "route") if step == "shift" else (stage.theatre.runtime, "start")
            )
            monkeypatch.setattr(part, verb, refuse)

    end = stage.theatre.run(rollout.id, refuses)
    assert stage.theatre.result(rollout.id, step)["error"] == "Rejected"
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED)
    assert_whole(stage.theatre, stage.old)


@pytest.mark.parametrize("changes", [{}, {"traffic": None}], ids=["traffic", "none"])
def test_a_shop_that_is_open_again_waits_for_a_person(stage: Stage, changes: dict[str, Any]) -> None:
    if changes:
        stage.old = stage.theatre.stand(replace(stage.old, **changes))
    target = replace(strict(stage), **changes)
    rollout = by_hand(stage, target)
    falls = happens_in(stage.theatre, "watch", fall(stage.theatre, target, Role.WEB))
    end = stage.theatre.run(rollout.id, falls)
    assert (end.id, end.state) == (rollout.id, RolloutState.FAILED)
    assert "waits for a person" in str(end.outcome)


def test_what_breaks_is_not_left_to_code_that_starts_all_the_same(stage: Stage) -> None:
    """Since the plan was made another unit came to need the migration."""
    target = strict(stage)
    assert stage.deploy(target).state is RolloutState.VERIFIED
    going = rollback(stage.theatre.context, UNIT)
    stage.theatre.stand(replace(target, unit=OTHER))
    end = stage.theatre.run(going)
    assert end.state is RolloutState.INCOMPLETE
    assert f"{OTHER} need 0002_next" in str(end.outcome)
    assert generation_id(stage.old) not in stage.theatre.running(Role.WEB)
    assert [row[0] for row in stage.shop.database.applied()] == ["0001_init", "0002_next"]
