"""What ends by itself while it is watched is no good release, whatever its customers have noticed of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from lastgood.actions.abilities import generation_id
from lastgood.actions.rollback import rollback
from lastgood.domain.errors import Unreachable
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.rollout import RolloutState
from lastgood.domain.unit import Role
from lastgood.ports.drivers import Generation, RoleStatus
from lastgood.ports.traffic import Destination
from tests.actions.theatre import CANARY, UNIT, Theatre


def happens_in(theatre: Theatre, step: str, event: Callable[[], object]) -> Callable[[str, str], None]:
    """A probe that has ``event`` happen one second after ``step`` began."""
    at: list[datetime] = []

    def pass_by(seconds: float) -> None:
        if at and (theatre.clock.now() - at[0]).total_seconds() > 1:
            at.clear()
            event()

    theatre.clock.passes.append(pass_by)

    def probe(moment: str, name: str) -> None:
        if (moment, name) == ("before effect", step):
            at.append(theatre.clock.now())

    return probe


def fall(theatre: Theatre, new: Release, role: Role) -> Callable[[], object]:
    return lambda: theatre.runtime.crash(generation_id(new), role)


@pytest.mark.parametrize("step", ["canary:25", "watch", "drain", "guard"])
def test_web_that_ends_once_is_taken_back_and_set_aside(theatre: Theatre, step: str) -> None:
    old = theatre.stand(theatre.release("old"))
    new = theatre.release("new", canary=CANARY)
    theatre.proxy.hold()
    rollout = theatre.accept(new)
    end = theatre.run(rollout.id, happens_in(theatre, step, fall(theatre, new, Role.WEB)))
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    failed = theatre.result(rollout.id, step)
    assert failed["error"] == "GateFailed"
    assert "ended by itself" in str(theatre.rollout(rollout.id).outcome)
    assert theatre.serves(old)
    with theatre.store.read() as unit:
        assert {q.name for q in unit.quarantine.list()} >= {new.digest}


def test_workers_may_end_as_many_do_by_design(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    new = theatre.release("new")
    end = theatre.run(theatre.accept(new).id, happens_in(theatre, "guard", fall(theatre, new, Role.WORKER)))
    assert end.state is RolloutState.VERIFIED, str(end.outcome)


def test_workers_that_end_again_and_again_are_taken_back(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = theatre.stand(theatre.release("old"))
    new = theatre.release("new")
    look = theatre.runtime.ready
    looping: set[str] = set()

    def ready(generation: Generation, role: Role) -> RoleStatus:
        seen = look(generation, role)
        hopeless = generation.id in looping and role is Role.WORKER
        return replace(seen, hopeless=True, detail="exited with 1, 3 times") if hopeless else seen

    monkeypatch.setattr(theatre.runtime, "ready", ready)
    begins = happens_in(theatre, "guard", lambda: looping.add(generation_id(new)))
    rollout = theatre.accept(new)
    end = theatre.run(rollout.id, begins)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert "exited with 1, 3 times" in str(theatre.rollout(rollout.id).outcome)
    assert theatre.serves(old)


def test_what_ended_before_it_was_watched_does_not_count(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    new = theatre.release("new")

    def probe(moment: str, step: str) -> None:
        if (moment, step) == ("after effect", "shift"):
            theatre.runtime.crash(generation_id(new), Role.WEB)
            # It is there again under another address, as a process is.
            theatre.proxy.route(Destination(generation_id(new), theatre.addresses(new)))

    end = theatre.run(theatre.accept(new).id, probe)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)


def test_an_old_release_that_is_watched_after_a_return_may_end(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    theatre.deploy_well(theatre.release("new"))
    back = rollback(theatre.context, UNIT)
    end = theatre.run(back, happens_in(theatre, "verify", fall(theatre, old, Role.WORKER)))
    assert end.state is RolloutState.VERIFIED, str(end.outcome)


def test_a_runtime_that_does_not_answer_says_nothing_against_it(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    theatre.stand(theatre.release("old"))
    new = theatre.release("new")

    def down() -> None:
        raise Unreachable(N_("no answer"))

    def probe(moment: str, step: str) -> None:
        if step == "guard":
            if moment == "before effect":
                monkeypatch.setattr(theatre.runtime, "status", down)
            else:
                monkeypatch.undo()

    end = theatre.run(theatre.accept(new).id, probe)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
