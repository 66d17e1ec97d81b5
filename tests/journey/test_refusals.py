"""What is refused, before anything is done, and how it says so."""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import Queue

import pytest

from lastgood.domain.errors import Conflict, InvalidInput, LastgoodError, NotReversible
from lastgood.domain.rollout import RolloutState
from tests.journey.driving import begin, deploy, deploy_well, end_of, until
from tests.journey.world import DEV, PROD, World


@pytest.mark.parametrize("field", ["reason", "owner", "impact"])
def test_a_change_says_why_who_and_whom_it_touches(world: World, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        begin(world, **{field: " "})
    assert field in str(caught.value)
    assert world.service().runner() == 0


def test_a_commit_that_does_not_exist(world: World) -> None:
    with pytest.raises(InvalidInput, match="deadbeef"):
        begin(world, revision="deadbeef")


def test_a_dirty_estate(world: World) -> None:
    world.write("services/page/values.yaml", "text: edited\n")
    with pytest.raises(InvalidInput, match=r"values\.yaml"):
        begin(world)


def test_a_missing_secret(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNEY_TOKEN")
    with pytest.raises(InvalidInput, match="JOURNEY_TOKEN"):
        begin(world)


def test_nothing_to_change(world: World) -> None:
    deploy_well(world)
    with pytest.raises(InvalidInput, match="nothing to change"):
        begin(world)


def test_a_stale_base_is_refused_and_says_against_what(world: World) -> None:
    first = world.git("rev-parse", "HEAD")
    deployed = world.commit("second", text="two")
    deploy_well(world)
    world.git("checkout", "-q", "-b", "other", first)
    world.commit("third", text="three")
    with pytest.raises(Conflict) as caught:
        begin(world)
    assert deployed[:10] in str(caught.value)


def test_production_only_after_the_environment_before(world: World) -> None:
    with pytest.raises(Conflict, match="not verified in dev"):
        begin(world, PROD)
    deploy_well(world)
    deploy_well(world, PROD)


def test_a_change_of_production_values_alone_needs_no_deploy_to_dev(world: World) -> None:
    deploy_well(world)
    deploy_well(world, PROD)
    world.write("services/page/environments/prod.yaml", "text: only prod\n")
    world.git("add", "-A")
    world.git("commit", "-q", "-m", "prod only")
    deploy_well(world, PROD)


def test_inside_a_guard_window_only_accept_or_back(world: World) -> None:
    world.guard = "60s"
    world.commit("long guard")
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    world.commit("next", text="next")
    with pytest.raises(Conflict, match="guard window"):
        begin(world)
    world.service().accept(DEV, "enough seen")
    assert end_of(world, rollout.id).state is RolloutState.ACCEPTED_EARLY
    assert begin(world).id != rollout.id


def test_a_freeze_stops_changes_and_lets_rollbacks_pass(world: World) -> None:
    deploy_well(world)
    world.commit("second", text="two")
    deploy_well(world)
    world.commit("bad", text="bad", broken=True)
    deploy(world)
    world.commit("fix", text="fixed")
    with pytest.raises(Conflict, match="frozen"):
        begin(world)
    back = world.service().rollback(DEV, reason="one more")
    assert end_of(world, back).state is RolloutState.VERIFIED
    world.service().unfreeze(DEV, "cause found")
    deploy_well(world)


def test_the_plan_that_was_shown_is_the_plan_that_runs(world: World) -> None:
    shown = world.service().plan(DEV).digest
    world.commit("meanwhile", text="something else")
    with pytest.raises(Conflict, match="shown"):
        begin(world, plan=shown)
    begin(world, plan=world.service().plan(DEV).digest)


def test_no_restore_point_no_way_back(world: World) -> None:
    world.service().adopt(DEV, "first look")
    with pytest.raises(NotReversible) as caught:
        world.service().rollback(DEV)
    assert caught.value.exit_code == 7


def _compete(world: World, answers: Queue[str]) -> None:
    try:
        answers.put(begin(world).id)
    except LastgoodError as error:
        answers.put(type(error).__name__)


def test_two_processes_at_once_and_one_of_them_wins(world: World) -> None:
    world.service().adopt(DEV, "so that both plan from the same base")
    context = multiprocessing.get_context("spawn")
    answers: Queue[str] = context.Queue()
    pair = [context.Process(target=_compete, args=(world, answers)) for _ in range(2)]
    for process in pair:
        process.start()
    said = sorted(answers.get(timeout=60) for _ in pair)
    for process in pair:
        process.join()
    assert said[0] == "Conflict"
    assert said[1].startswith("r-")
    assert end_of(world, said[1]).state is RolloutState.VERIFIED
