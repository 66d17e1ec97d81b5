"""The main job on real parts: deploy, notice, go back, prove it."""

from __future__ import annotations

from lastgood.domain.rollout import RolloutState
from tests.journey.driving import begin, deploy, deploy_well, end_of, until
from tests.journey.page import page
from tests.journey.world import DEV, World


def test_a_good_release_becomes_a_verified_restore_point(world: World) -> None:
    deploy_well(world)
    assert page(world.ports["dev"]) == {"status": "200", "text": "one"}
    world.commit("second", text="two")
    deploy_well(world)
    assert page(world.ports["dev"])["text"] == "two"
    (status,) = world.service().status(DEV)
    assert status.way_back is not None
    assert (status.way_back.kind, status.way_back.missing) == ("verified", 0)
    assert status.way_back.estimate.measured > 0


def test_a_broken_release_goes_back_by_itself_and_is_measured_again(world: World) -> None:
    deploy_well(world)
    world.commit("bad", text="bad", broken=True)
    failed = begin(world)
    end = end_of(world, failed.id)
    assert (end.kind.value, end.state) == ("rollback", RolloutState.VERIFIED), str(end.outcome)
    assert page(world.ports["dev"]) == {"status": "200", "text": "one"}
    progress, incident, backs = world.service().show(failed.id)
    assert progress.rollout.state is RolloutState.RETURNED
    assert [b.id for b in backs] == [end.id]
    assert incident is not None
    assert incident.closed_at is not None
    evidence = world.places.evidence / end.id
    kept = {file.name for file in evidence.iterdir()}
    assert "samples.json" in kept
    assert any("log" in name for name in kept), kept
    everything = b"".join(file.read_bytes() for file in evidence.iterdir())
    assert b"failed with" in everything, "the program did log its secret"
    assert b"journey-secret-value" not in everything


def test_every_act_is_in_the_audit_with_intent_and_outcome(world: World) -> None:
    deploy_well(world)
    world.commit("bad", text="bad", broken=True)
    deploy(world)
    records = [(r.verb, r.phase.value) for r in reversed(world.service().audit(str(DEV)))]
    assert records == [
        ("adopt", "outcome"),
        ("deploy", "intent"), ("deploy", "outcome"),
        ("deploy", "intent"), ("quarantine", "outcome"), ("rollback", "intent"), ("deploy", "outcome"),
        ("rollback", "outcome"),
    ]  # fmt: skip
    assert world.service().verify_audit() is None


def test_a_secret_value_is_nowhere_in_clear(world: World) -> None:
    deploy_well(world)
    hits = [
        file for file in world.root.rglob("*")
        if file.is_file() and b"journey-secret-value" in file.read_bytes()
    ]  # fmt: skip
    assert hits == []


def test_a_guard_window_goes_on_with_nobody_at_the_terminal(world: World) -> None:
    deploy_well(world)
    world.guard = "60s"
    world.commit("late", text="late")
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    service = world.service()
    assert service.status(DEV)[0].watched
    service.accept(DEV, "seen enough")
    end = end_of(world, rollout.id)
    assert end.state is RolloutState.ACCEPTED_EARLY, str(end.outcome)
