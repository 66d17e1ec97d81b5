"""A fence around all units on a shared database: all stop while it moves, and each is back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from lastgood.actions.abilities import generation_id
from lastgood.actions.accepting import accept_plan
from lastgood.actions.deploy import refuse_busy
from lastgood.actions.plan_change import move_between
from lastgood.actions.rehearsing import Among, rehearse_first
from lastgood.actions.rollback import plan_way_back, rollback
from lastgood.domain.errors import Conflict, NotReversible, Rejected
from lastgood.domain.incident import Freeze
from lastgood.domain.message import Message
from lastgood.domain.release import Release
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.domain.unit import Role, UnitId
from lastgood.planning.moves import plan_deploy
from tests.actions.rehearsed import NEXT, OLD, RESOURCE, Stage, strict, with_journey
from tests.actions.restoring import INIT
from tests.actions.test_killed import Kill, killed_and_resumed
from tests.actions.theatre import OTHER, UNIT, Theatre

MIGRATE, REVERT = f"migrate:{RESOURCE}:0002_next", f"back:revert:{RESOURCE}:0002_next"
BEARS = f"INSERT INTO orders (id, item, price) VALUES ({NEXT}, 'of the other ' || {NEXT}, 1);\n"


def neighbour(stage: Stage, journey: str = BEARS) -> Release:
    """``OTHER`` is on the same database; by its journey it bears the new schema."""
    made = stage.shop.release("other", stage.shop.migration("0001_init", INIT), unit=OTHER)
    return stage.theatre.stand(with_journey(stage.theatre, made, journey))


@pytest.fixture
def other(stage: Stage) -> Release:
    return neighbour(stage)


def running(theatre: Theatre, unit: UnitId) -> list[str]:
    return [s.role.value for s in theatre.runtimes[unit].status() if s.running]


def assert_serves(theatre: Theatre, release: Release) -> None:
    """All of it runs, nothing else of the unit does, and it has the traffic."""
    there = {(s.generation, s.role) for s in theatre.runtimes[release.unit].status() if s.running}
    assert there == {(generation_id(release), role) for role in (Role.WEB, Role.WORKER)}
    assert theatre.serves(release)


def free(theatre: Theatre) -> bool:
    with theatre.store.read() as unit:
        return not unit.locks.holder(f"unit:{OTHER}")


def test_all_stop_while_the_schema_moves_there_and_back(stage: Stage, other: Release) -> None:
    theatre = stage.theatre
    seen: dict[str, Mapping[UnitId, list[str]]] = {}
    refused: dict[str, list[int]] = {}

    def looks(moment: str, step: str) -> None:
        if moment == "before effect":
            seen[step] = {unit: running(theatre, unit) for unit in (UNIT, OTHER)}
            refused[step] = [theatre.traffic[unit].ask()[0] for unit in (UNIT, OTHER)]

    target = strict(stage)
    end = stage.deploy(target, looks)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert seen[MIGRATE] == {UNIT: [], OTHER: []}
    assert refused[MIGRATE] == [503, 503], "the proxies say so"
    assert refused["start"] == [503, 200]
    assert seen["start"] == {UNIT: [], OTHER: ["web", "worker"]}, "no longer than it takes"
    assert_serves(theatre, target)
    assert_serves(theatre, other)
    assert free(theatre)
    back = theatre.run(rollback(theatre.context, UNIT), looks)
    assert back.state is RolloutState.VERIFIED, str(back.outcome)
    assert seen[REVERT] == {UNIT: [], OTHER: []}
    assert_serves(theatre, stage.old)
    assert_serves(theatre, other)
    assert free(theatre)


def test_the_plan_names_who_stops_and_each_step(stage: Stage, other: Release) -> None:
    plan = plan_deploy(stage.move(strict(stage)))
    assert plan.stops == (OTHER,)
    assert any(f"{OTHER} use the database too" in str(note) for note in plan.notes)
    ids = [step.id for step in plan.steps]
    wanted = ["fence", f"fence:{OTHER}", MIGRATE, *(f"lift:{part}:{OTHER}" for part in PARTS), "start"]
    assert [name for name in ids if name in wanted] == wanted
    back = [step.id for step in plan.way_back]
    wanted = ["back:fence", f"back:fence:{OTHER}", REVERT, *(f"back:lift:{part}:{OTHER}" for part in PARTS)]
    assert [name for name in back if name in wanted] == wanted


ALL = Among()
PARTS = ("start", "shift", "workers")
POINTS = [
    ("after effect", "fence"),
    ("after outcome", f"fence:{OTHER}"),
    ("after effect", MIGRATE),
    ("after outcome", MIGRATE),
    ("after effect", f"lift:start:{OTHER}"),
    ("after effect", f"lift:workers:{OTHER}"),
]
BACK = [
    ("after effect", f"back:fence:{OTHER}"),
    ("after effect", REVERT),
    ("after outcome", REVERT),
    ("after effect", f"back:lift:start:{OTHER}"),
    ("after outcome", f"back:lift:shift:{OTHER}"),
]


@pytest.mark.parametrize(("moment", "step"), POINTS)
def test_killed_on_the_way_all_come_back(stage: Stage, other: Release, moment: str, step: str) -> None:
    target, kill = strict(stage), Kill(moment, step)
    end = killed_and_resumed(stage.theatre, stage.accept(stage.move(target)), kill)
    assert kill.happened
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert_serves(stage.theatre, target)
    assert_serves(stage.theatre, other)
    assert free(stage.theatre)


@pytest.mark.parametrize(("moment", "step"), BACK)
def test_killed_on_the_way_back_all_are_as_before(
    stage: Stage, other: Release, moment: str, step: str
) -> None:
    target, kill = strict(stage), Kill(moment, step)
    rollout = stage.accept(stage.move(target))
    stage.theatre.proxy.bad.add(generation_id(target))
    end = killed_and_resumed(stage.theatre, rollout, kill)
    end = stage.theatre.run(f"{rollout.id}-back") if end.id == rollout.id else end
    assert kill.happened
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert_serves(stage.theatre, stage.old)
    assert_serves(stage.theatre, other)
    assert free(stage.theatre)


def test_a_migration_that_fails_leaves_nobody_stopped(stage: Stage, other: Release) -> None:
    rollout = stage.accept(stage.move(strict(stage)))
    stage.shop.database.fail_next("deploy", Rejected(Message("locked").template))
    end = stage.theatre.run(rollout.id)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED)
    assert_serves(stage.theatre, stage.old)
    assert_serves(stage.theatre, other)


def test_a_proxy_that_cannot_be_told_keeps_no_writer_running(
    stage: Stage, other: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, told = stage.theatre.traffic[OTHER], []

    def silent(verb: str) -> None:
        if verb == "route" and not told:
            told.append(running(stage.theatre, OTHER))
            raise Rejected(Message("no answer").template)

    monkeypatch.setattr(proxy, "before", silent)
    end = stage.deploy(strict(stage))
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert stage.theatre.result(end.id, f"fence:{OTHER}")["closed"] == "no answer"
    assert_serves(stage.theatre, other)


def test_a_way_back_that_stops_in_between_says_who_stands_still(stage: Stage, other: Release) -> None:
    rollout = stage.accept(stage.move(strict(stage)))
    stage.theatre.proxy.bad.add(generation_id(strict(stage)))
    stage.shop.database.fail_next("revert", Rejected(Message("locked").template))
    end = stage.theatre.run(rollout.id)
    assert end.state is RolloutState.INCOMPLETE
    assert f"Stopped with it: {OTHER}" in str(end.outcome)
    assert running(stage.theatre, OTHER) == []
    again = stage.theatre.run(rollback(stage.theatre.context, UNIT))
    assert again.state is RolloutState.VERIFIED, str(again.outcome)
    assert_serves(stage.theatre, stage.old)
    assert_serves(stage.theatre, other)


def test_who_is_started_already_is_not_called_stopped(stage: Stage, other: Release) -> None:
    rollout = stage.accept(stage.move(strict(stage)))
    stage.theatre.proxy.bad.add(generation_id(strict(stage)))

    def refuses(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "back:shift"):
            stage.theatre.runtime.remove_by_hand(generation_id(stage.old), Role.WEB)

    end = stage.theatre.run(rollout.id, refuses)
    assert end.state is RolloutState.INCOMPLETE
    assert "Stopped with it" not in str(end.outcome)
    assert_serves(stage.theatre, other)


def test_until_it_is_over_nobody_else_moves_them(stage: Stage, other: Release) -> None:
    context, refused = stage.theatre.context, []

    def meanwhile(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "guard"):
            with pytest.raises(Conflict, match=f"of {UNIT} holds {OTHER}"):
                refuse_busy(context, OTHER)
            with pytest.raises(Conflict, match=f"of {UNIT} holds {OTHER}"):
                rollback(context, OTHER)
            refused.append(step)

    assert stage.deploy(strict(stage), meanwhile).state is RolloutState.VERIFIED
    assert refused == ["guard"]


def refused(stage: Stage, among: Among = ALL) -> str:
    move = move_between(stage.theatre.context, stage.old, strict(stage))
    with pytest.raises(NotReversible) as caught:
        rehearse_first(stage.theatre.context, move, among=among)
    return str(caught.value)


def test_who_does_not_bear_the_new_schema_refuses_it(stage: Stage) -> None:
    neighbour(stage, OLD)
    assert f"And {OTHER} use it too, and would have to run on it: Old code does not run" in refused(stage)


def test_who_shows_nothing_refuses_it(stage: Stage) -> None:
    neighbour(stage, "")
    assert "would have to run on it: Nothing shows" in refused(stage)


def test_what_we_did_not_start_refuses_it(stage: Stage, other: Release) -> None:
    stage.theatre.stand_baseline(replace(other, origin="baseline", upstream="127.0.0.1:1"))
    assert "was not started by lastgood" in refused(stage)


def test_what_was_never_deployed_refuses_it(stage: Stage) -> None:
    among = Among(lambda resource: (UNIT, UnitId("erp", "prod", "us")))
    assert "And erp@prod/us use it too, which lastgood never deployed" in refused(stage, among)


def test_a_change_of_several_units_is_told_to_move_one_first(stage: Stage, other: Release) -> None:
    assert "is for a change of one unit" in refused(stage, Among(alone=False))


def accepted(stage: Stage) -> Rollout:
    return stage.accept(stage.move(strict(stage)))


def test_a_frozen_one_stops_a_change_and_no_way_back(stage: Stage, other: Release) -> None:
    target = strict(stage)
    assert stage.deploy(target).state is RolloutState.VERIFIED
    now = stage.theatre.clock.now()
    with stage.theatre.store.write() as unit:
        unit.incidents.freeze(Freeze("f-1", str(OTHER), Message("looking"), "ann", now))
    assert stage.theatre.run(rollback(stage.theatre.context, UNIT)).state is RolloutState.VERIFIED
    assert_serves(stage.theatre, other)
    with pytest.raises(Conflict, match=f"{OTHER} is frozen"):
        accepted(stage)


def test_a_busy_one_stops_both(stage: Stage, other: Release) -> None:
    target = strict(stage)
    assert stage.deploy(target).state is RolloutState.VERIFIED
    plan, old = plan_way_back(stage.theatre.context, UNIT)
    newer = stage.theatre.accept(replace(other, upstream="newer"))
    context = stage.theatre.context
    with pytest.raises(Conflict, match=f"{newer.id} .* at work on {OTHER}"):
        accept_plan(context, plan, old, Request("r", "team", "x", "ann", context.clock.now()))
    assert stage.theatre.run(newer.id).state is RolloutState.VERIFIED
    with pytest.raises(Conflict, match=f"{OTHER} again, which has another release since"):
        accept_plan(context, plan, old, Request("r", "team", "x", "ann", context.clock.now()))
    assert stage.theatre.run(rollback(context, UNIT)).state is RolloutState.VERIFIED
    assert_serves(stage.theatre, replace(other, upstream="newer"))


def test_who_came_after_the_plan_was_made_ends_it_before_it_begins(stage: Stage, other: Release) -> None:
    rollout = accepted(stage)
    with stage.theatre.store.write() as unit:
        unit.locks.release(rollout.id, [f"unit:{OTHER}"])
    stage.theatre.stand(replace(other, upstream="newer"))
    end = stage.theatre.run(rollout.id)
    assert end.state is RolloutState.FAILED
    assert "nothing was changed" in str(end.outcome)
    assert_serves(stage.theatre, stage.old)


def test_a_way_back_that_stops_after_the_schema_starts_them_when_run_again(
    stage: Stage, other: Release
) -> None:
    """Nothing is left to take out by then, and they still stand still."""
    rollout = stage.accept(stage.move(strict(stage)))
    stage.theatre.proxy.bad.add(generation_id(strict(stage)))
    engine = stage.theatre.runtimes[OTHER]

    def breaks(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", f"back:lift:start:{OTHER}"):
            engine.needs[generation_id(other)] = 99
            engine.broken.add(generation_id(other))

    end = stage.theatre.run(rollout.id, breaks)
    assert end.state is RolloutState.INCOMPLETE, str(end.outcome)
    assert f"Stopped with it: {OTHER}" in str(end.outcome)
    engine.broken.clear()
    again = stage.theatre.run(rollback(stage.theatre.context, UNIT))
    assert again.state is RolloutState.VERIFIED, str(again.outcome)
    assert_serves(stage.theatre, stage.old)
    assert_serves(stage.theatre, other)
