"""A change is shared out step by step; what a share shows, and what it can't show, takes it back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.actions.abilities import generation_id
from lastgood.domain.criterion import Criterion, Signal, SignalKind
from lastgood.domain.rollout import RolloutState, StopRequest
from lastgood.domain.unit import Role
from tests.actions.theatre import CANARY, UNIT, Theatre


def test_every_share_is_sent_and_watched_before_the_next(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    new = theatre.release("new", canary=CANARY)
    seen: list[tuple[str, list[float]]] = []

    def looked(moment: str, step: str) -> None:
        if moment == "after effect":
            seen.append((step, [share.percent for share in theatre.proxy.shares()]))

    end = theatre.run(theatre.accept(new).id, looked)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    order = [step for step, _ in seen]
    assert order.index("start") < order.index("split:5") < order.index("canary:5") < order.index("split:25")
    assert order.index("canary:25") < order.index("switch") < order.index("shift") < order.index("workers")
    shares = dict(seen)
    assert shares["split:5"] == shares["canary:5"] == [95.0, 5.0]
    assert shares["split:25"] == [75.0, 25.0]
    assert shares["shift"] == [100.0]
    assert theatre.serves(new)
    assert theatre.running(Role.WEB) == theatre.running(Role.WORKER) == [generation_id(new)]
    counted = theatre.proxy.counts[generation_id(old)]
    assert counted[0] == counted[1] > 0


def test_a_fault_at_five_percent_is_seen_in_the_share_and_goes_back_by_cutting(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    new = theatre.release("new", canary=CANARY)
    theatre.proxy.bad.add(generation_id(new))
    rollout = theatre.accept(new)
    end = theatre.run(rollout.id)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert theatre.result(rollout.id, "canary:5")["error"] == "GateFailed"
    assert theatre.serves(old)
    good, total = theatre.proxy.counts[""]
    assert good / total > 0.95, "seen in all requests together, it would have passed"
    back = {step.id: step for step in end.plan.steps}
    assert back["back:shift"].params["leave"] == "cut"
    assert "back:workers" not in back, "the workers of the old generation were never touched"
    assert "back:switch" not in back
    with theatre.store.read() as unit:
        assert [f.incident for f in unit.incidents.freezes(UNIT)] == [f"in-{rollout.id}"]
        assert unit.releases.current(UNIT) == old.digest


def test_during_the_canary_the_unit_is_still_on_the_old_release(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    rollout = theatre.accept(theatre.release("new", canary=CANARY))

    def looked(moment: str, step: str) -> None:
        if step.startswith("canary") and moment == "after effect":
            with theatre.store.read() as unit:
                assert unit.releases.current(UNIT) == old.digest

    assert theatre.run(rollout.id, looked).state is RolloutState.VERIFIED


def test_too_few_requests_are_no_success(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    theatre.rate = 20.0
    rollout = theatre.accept(theatre.release("new", canary=CANARY))
    began = theatre.clock.now()
    end = theatre.run(rollout.id)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert theatre.serves(old)
    failed = theatre.result(rollout.id, "canary:5")
    assert failed["error"] == "GateInconclusive"
    params = failed["what"]["params"]
    assert "not enough requests reached the canary" in failed["what"]["template"]
    assert params["least"] == 20
    assert 0 < int(params["total"]) < 20
    assert (theatre.clock.now() - began).total_seconds() > 6, "it was watched three times as long before"
    with theatre.store.read() as unit:
        assert list(unit.incidents.freezes(UNIT)) == [], "nobody was hurt: the next try may follow at once"
        assert list(unit.quarantine.list()) == []


def test_a_share_that_needs_longer_gets_longer(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    theatre.rate = 120.0
    rollout = theatre.accept(theatre.release("new", canary=CANARY))
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    with theatre.store.read() as unit:
        entries = [e for e in unit.journal.entries(rollout.id) if e.step == "canary:5"]
    took = (entries[-1].at - entries[0].at).total_seconds()
    assert 2.5 < took < 6


def test_a_criterion_that_sees_only_the_whole_is_told_in_the_plan(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    new = theatre.release("new", canary=CANARY)
    whole = Criterion("pages", Signal("pages", SignalKind.RATIO, "http"), 0.9, 2.0, 20)
    plan = theatre.accept(replace(new, criteria=(*new.criteria, whole))).plan
    notes = [str(note) for note in plan.notes]
    assert [note for note in notes if "can't tell its answers" in note and "pages" in note]
    assert not [note for note in notes if "answers can't" in note]


@pytest.mark.parametrize("step", ["canary:5", "canary:25"])
def test_a_person_turns_it_back_in_the_middle(theatre: Theatre, step: str) -> None:
    old = theatre.stand(theatre.release("old"))
    rollout = theatre.accept(theatre.release("new", canary=CANARY))

    def wish(moment: str, at: str) -> None:
        if (moment, at) == ("before effect", step):
            with theatre.store.write() as unit:
                unit.wishes.ask(StopRequest(rollout.id, "back", "ann", "a call", theatre.clock.now()))

    end = theatre.run(rollout.id, wish)
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert theatre.serves(old)
    with theatre.store.read() as unit:
        assert list(unit.incidents.freezes(UNIT)) == []
        assert list(unit.quarantine.list()) == []


def test_a_proxy_that_shares_otherwise_is_told(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    rollout = theatre.accept(theatre.release("new", canary=CANARY))
    there = theatre.proxy.current()
    theatre.proxy.after = lambda verb: theatre.proxy.route(there) if verb == "split" else None
    end = theatre.run(rollout.id)
    assert theatre.result(rollout.id, "split:5")["error"] == "OutcomeUnknown"
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert theatre.serves(old)
