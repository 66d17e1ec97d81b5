"""A revoked secret never returns: the old configuration comes up with the newest token, on real parts."""

from __future__ import annotations

import os

import psutil
import pytest

from lastgood.domain.errors import InvalidInput, NotReversible
from lastgood.domain.rollout import RolloutState
from tests.journey.driving import begin, deploy_well, end_of, kill_runner, until
from tests.journey.page import page
from tests.journey.world import APP, DEV, World


@pytest.fixture(autouse=True)
def own_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a world sets is gone after the test."""
    monkeypatch.setenv("JOURNEY_TOKEN", "")


def tokens(world: World) -> dict[str, set[str]]:
    """By role, the tokens in the environments of the processes that run now."""
    found: dict[str, set[str]] = {}
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if any(word.endswith("/app.py") and str(world.root) in word for word in words):
                role = words[words.index(next(w for w in words if w.endswith("/app.py"))) + 1]
                found.setdefault(role, set()).add(process.environ()["TOKEN"])
        except psutil.Error:
            continue
    return found


def rotate(value: str) -> None:
    """At the source, as its owner does."""
    os.environ["JOURNEY_TOKEN"] = value


def test_a_rollback_brings_the_old_configuration_and_the_newest_token(world: World) -> None:
    first = deploy_well(world)
    rotate("rotated-secret-value")
    world.commit("second", text="two")
    deploy_well(world)
    service = world.service()
    (old,) = service.secrets.revoke("TOKEN", reason="it was in a log").revocations
    plan = service.plan_rollback(DEV)
    said = [str(note) for note in plan.notes]
    assert any(old.secret.version[:8] in note and "it was in a log" in note for note in said)
    end = end_of(world, service.rollback(DEV))
    assert (end.state, end.target) == (RolloutState.VERIFIED, plan.target), str(end.outcome)
    assert end.target != first.target
    assert page(world.ports["dev"])["text"] == "one"
    assert tokens(world) == {"web": {"rotated-secret-value"}, "worker": {"rotated-secret-value"}}
    assert service.drift(DEV) == ()
    # From here it goes on, once the source gives another value.
    rotate("journey-secret-value")
    world.commit("third", text="three")
    with pytest.raises(InvalidInput, match="source of TOKEN still gives the revoked version"):
        begin(world)
    rotate("rotated-secret-value")
    assert service.plan(DEV).base == end.target


def test_revoked_inside_the_guard_window_the_automatic_way_back_starts_anew(world: World) -> None:
    first = deploy_well(world)
    rotate("rotated-secret-value")
    world.guard = "60s"
    breaks = f'os.path.exists("{world.root}/broken")'
    world.write("services/page/app/app.py", APP.replace('CONFIG.get("broken", False)', breaks))
    world.commit("second", text="two")
    rollout = begin(world)
    until(world, rollout.id, RolloutState.GUARDING)
    service = world.service()
    service.secrets.revoke("TOKEN", reason="leaked")
    back = service.status(DEV)[0].way_back
    assert back is not None
    assert (back.warm, back.renewed) == (False, ("TOKEN",))
    # The runner dies, and the next one finds the release broken.
    kill_runner(world)
    (world.root / "broken").touch()
    service.resume()
    end = end_of(world, rollout.id)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert end.target != first.target
    assert page(world.ports["dev"]) == {"status": "200", "text": "one"}
    assert tokens(world) == {"web": {"rotated-secret-value"}, "worker": {"rotated-secret-value"}}


def test_a_renewed_token_heals_what_runs_and_is_seen_in_no_file(world: World) -> None:
    deploy_well(world)
    service = world.service()
    (version,) = service.secrets.list("TOKEN")
    revoked = service.secrets.revoke("TOKEN", version.secret.version[:6], reason="leaked")
    assert (revoked.running, revoked.without) == ((DEV,), (DEV,))
    with pytest.raises(NotReversible, match="no valid version of secret TOKEN"):
        service.heal(DEV)
    service.secrets.renew("TOKEN", "renewed-secret-value", reason="rotated")
    end = end_of(world, service.heal(DEV, "rotated").id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert tokens(world) == {"web": {"renewed-secret-value"}, "worker": {"renewed-secret-value"}}
    assert service.status(DEV)[0].revoked == ()
    proof = service.prove(DEV)
    assert set(proof.renewed) == {f"rp-{first}" for first in rollouts(world, "deploy")}
    in_clear = [
        file
        for file in (world.root / "state").rglob("*")
        if file.is_file() and b"renewed-secret-value" in file.read_bytes()
    ]
    assert in_clear == []


def rollouts(world: World, kind: str) -> list[str]:
    return [r.id for r in world.service().history(DEV)[0] if r.kind.value == kind]
