"""Going back: warm, cold, twice, and when everything else is down."""

from __future__ import annotations

import itertools
import shutil
from datetime import UTC, datetime

import psutil
import pytest

from lastgood.bootstrap.places import find_places
from lastgood.bootstrap.service import Service
from lastgood.domain.errors import Conflict, NotReversible
from lastgood.domain.rollout import RolloutState
from tests.journey.conftest import wait_for
from tests.journey.driving import begin, deploy, deploy_well, end_of, kill_runner, until
from tests.journey.page import page
from tests.journey.world import DEV, World


def test_warm_inside_the_guard_window(world: World) -> None:
    deploy_well(world)
    world.guard = "60s"
    world.commit("second", text="two")
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    back = world.service().rollback(DEV, reason="a customer called")
    end = end_of(world, back)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert page(world.ports["dev"])["text"] == "one"
    started = [
        e for e in world.service().show(end.id)[0].entries if e.step == "back:start" and "warm" in e.data
    ]
    assert [e.data["warm"] for e in started] == [True]
    # A person went back: that is no fault to be found, so nothing is frozen.
    assert world.service().status(DEV)[0].frozen == ""


def test_cold_and_forward_again(world: World) -> None:
    deploy_well(world)
    world.commit("second", text="two")
    deploy_well(world)
    service = world.service()
    assert end_of(world, service.rollback(DEV)).state is RolloutState.VERIFIED
    assert page(world.ports["dev"])["text"] == "one"
    newest = service.history(DEV)[1][0]
    assert end_of(world, service.rollback(DEV, to=newest.id)).state is RolloutState.VERIFIED
    assert page(world.ports["dev"])["text"] == "two"


def test_without_estate_git_and_artifacts_elsewhere(world: World) -> None:
    deploy_well(world)
    world.commit("second", text="two")
    deploy_well(world)
    shutil.rmtree(world.estate)
    shutil.rmtree(world.root / "process" / "artifacts")
    assert end_of(world, world.service().rollback(DEV)).state is RolloutState.VERIFIED
    assert page(world.ports["dev"])["text"] == "one"


def test_a_restore_point_that_is_not_whole_is_refused_and_seen_before(world: World) -> None:
    first = deploy_well(world)
    world.commit("second", text="two")
    deploy_well(world)
    release = world.service().render(DEV, first.plan.commit)[0]
    name = release.files[0].content.removeprefix("sha256:")
    damaged = next(f for f in world.places.objects.rglob("*") if f.is_file() and name.endswith(f.name))
    damaged.chmod(0o600)
    damaged.write_bytes(b"not what it was")
    status = world.service().status(DEV)[0]
    assert status.way_back is not None
    assert status.way_back.missing == 1
    with pytest.raises(NotReversible, match="not whole"):
        world.service().rollback(DEV)


def test_a_killed_runner_is_told_by_status_and_the_guard_goes_on(world: World) -> None:
    deploy_well(world)
    world.guard = "4s"
    world.commit("second", text="two")
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    kill_runner(world)
    status = world.service().status(DEV)[0]
    assert not status.watched
    assert status.watched_until is not None
    world.service().resume()
    assert end_of(world, rollout.id).state is RolloutState.VERIFIED


def test_losing_the_durable_runtimes_file_loses_nothing(world: World) -> None:
    deploy_well(world)
    world.guard = "4s"
    world.commit("second", text="two")
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    kill_runner(world)
    for file in world.places.state.glob("durable.db*"):
        file.unlink()
    world.service().resume()
    assert end_of(world, rollout.id).state is RolloutState.VERIFIED
    steps = [e.step for e in world.service().show(rollout.id)[0].entries if e.mark.value == "intent"]
    assert len(steps) == len(set(steps)), "no step ran under a second intent"


def test_a_damaged_file_of_the_durable_runtime_is_set_aside(world: World) -> None:
    deploy_well(world)
    wait_for(lambda: not world.service().runner())
    world.places.durable.write_bytes(b"this was a database" * 100)
    world.commit("second", text="two")
    deploy_well(world)


def test_asked_twice_it_goes_back_once(world: World) -> None:
    deploy_well(world)
    world.guard = "60s"
    world.commit("second", text="two")
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    first, second = world.service().rollback(DEV), world.service().rollback(DEV)
    assert end_of(world, first).state is RolloutState.VERIFIED
    assert second in (rollout.id, f"{rollout.id}-back")
    assert [r.kind.value for r in world.service().history(DEV)[0]].count("rollback") == 1


def test_a_baseline_is_only_taken_by_name(world: World) -> None:
    first = deploy_well(world)
    service = world.service()
    with pytest.raises(NotReversible, match="baseline") as caught:
        service.rollback(DEV)
    baseline = service.history(DEV)[1][-1]
    assert baseline.id in str(caught.value.todo)
    end = end_of(world, service.rollback(DEV, to=baseline.id))
    # Nothing can be measured on a baseline: it is there again, and never called verified.
    assert end.state is RolloutState.UNVERIFIED
    assert page(world.ports["dev"])["status"] == "503"
    assert end_of(world, service.rollback(DEV, to=f"rp-{first.id}")).state is RolloutState.VERIFIED
    assert page(world.ports["dev"])["text"] == "one"


def test_what_nobody_could_verify_is_accepted_and_leaves_nothing_running_behind(world: World) -> None:
    deploy_well(world)
    world.least_sample = 100_000
    world.commit("second", text="two")
    end = deploy(world)
    assert end.state is RolloutState.UNVERIFIED
    world.commit("third", text="three")
    with pytest.raises(Conflict, match="never verified"):
        begin(world)
    world.service().accept(DEV, "seen by hand")
    world.least_sample = 2
    world.commit("third", text="three")
    last = deploy_well(world)
    kinds = [point.kind.value for point in world.service().history(DEV)[1]]
    assert kinds == ["verified", "accepted", "verified", "baseline"]
    web = [p for p in psutil.process_iter() if runs_web_of(world, p)]
    assert len(web) == 1
    assert last.target[7:19] in web[0].environ()["LASTGOOD_GENERATION"]


def runs_web_of(world: World, process: psutil.Process) -> bool:
    try:
        line = process.cmdline()
        return f"{world.root}/process" in " ".join(line) and "web" in line
    except psutil.Error:
        return False


def test_only_watched_time_counts_however_often_the_runner_dies(world: World) -> None:
    deploy_well(world)
    world.guard = "6s"
    world.commit("second", text="two")
    rollout = begin(world)
    service = world.service()
    until(world, rollout.id, RolloutState.GUARDING)
    kill_runner(world)
    last = service.show(rollout.id)[0].samples[-1].at
    wait_for(lambda: (datetime.now(UTC) - last).total_seconds() > 7)
    service.resume()
    wait_for(lambda: service.show(rollout.id)[0].samples[-1].at > last)
    kill_runner(world)
    service.resume()
    assert end_of(world, rollout.id).state is RolloutState.VERIFIED
    guarded = next(e.at for e in service.show(rollout.id)[0].entries if e.step == "guard")
    looks = [s.at for s in service.show(rollout.id)[0].samples if s.at >= guarded]
    watched = sum(
        (b - a).total_seconds() for a, b in itertools.pairwise(looks) if (b - a).total_seconds() < 2
    )
    assert watched > 4.5, f"a window of 6 s was watched for {watched:.1f} s"


def test_beside_a_way_back_only_the_same_way_back(world: World) -> None:
    first = deploy_well(world)
    world.commit("second", text="two")
    deploy_well(world)
    world.commit("third", text="three")
    deploy_well(world)
    service = world.service()
    going = service.rollback(DEV, to=f"rp-{first.id}")
    with pytest.raises(Conflict, match="at work"):
        service.rollback(DEV, to=service.history(DEV)[1][1].id)
    assert service.rollback(DEV, to=f"rp-{first.id}") == going
    assert end_of(world, going).state is RolloutState.VERIFIED


def test_it_goes_back_to_where_it_came_from_and_not_to_what_people_left(world: World) -> None:
    first = deploy_well(world)
    world.commit("second", text="two")
    deploy_well(world)
    service = world.service()
    assert end_of(world, service.rollback(DEV)).target == first.target
    world.commit("third", text="three")
    deploy_well(world)
    end = end_of(world, service.rollback(DEV))
    assert (end.state, end.target) == (RolloutState.VERIFIED, first.target)


def test_an_estate_named_in_the_environment_may_be_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_well(world)
    world.commit("second", text="two")
    deploy_well(world)
    wait_for(lambda: not world.service().runner())
    monkeypatch.setenv("LASTGOOD_ESTATE", str(world.root / "gone"))
    monkeypatch.setenv("LASTGOOD_STATE", str(world.places.state))
    monkeypatch.setenv("LASTGOOD_KEY_FILE", str(world.places.key))
    service = Service(find_places())
    assert end_of(world, service.rollback(DEV)).state is RolloutState.VERIFIED


def test_where_a_person_decides_it_waits_and_then_goes_back_to_where_it_came_from(world: World) -> None:
    manual = (
        (world.estate / "lastgood.yaml").read_text().replace("{name: dev}", "{name: dev, automatic: false}")
    )
    world.write("lastgood.yaml", manual)
    world.commit("a person decides", text="one")
    deploy_well(world)
    world.commit("second", text="two")
    good = deploy_well(world)
    world.commit("bad", text="bad", broken=True)
    end = deploy(world)
    assert (end.kind.value, end.state) == ("deploy", RolloutState.FAILED)
    assert page(world.ports["dev"])["status"] == "500", "nobody has decided yet"
    assert world.service().status(DEV)[0].incident
    back = end_of(world, world.service().rollback(DEV, reason="decided"))
    assert (back.state, back.target) == (RolloutState.VERIFIED, good.target), str(back.outcome)
    assert page(world.ports["dev"]) == {"status": "200", "text": "two"}
    assert world.service().status(DEV)[0].incident == "", "the incident is closed by the return"
