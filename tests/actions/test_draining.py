"""What is open at the old generation ends by itself, or by policy, while the new one is watched."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.abilities import generation_id
from lastgood.domain.criterion import Verdict
from lastgood.domain.errors import Rejected, Unreachable
from lastgood.domain.plan import StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import Role
from tests.actions.theatre import UNIT, Theatre


def seconds_of(theatre: Theatre, rollout: Rollout, step: str) -> float:
    with theatre.store.read() as unit:
        entries = [e for e in unit.journal.entries(rollout.id) if e.step == step]
    return (entries[-1].at - entries[0].at).total_seconds()


def stand_with_open_requests(theatre: Theatre, count: int = 3) -> Release:
    old = theatre.stand(theatre.release("old"))
    theatre.proxy.hold(count)
    return old


def test_it_comes_after_the_watch_and_before_the_guard(theatre: Theatre) -> None:
    stand_with_open_requests(theatre)
    kinds = [step.kind for step in theatre.accept(theatre.release("new")).plan.steps]
    drain = kinds.index(StepKind.DRAIN_TRAFFIC)
    assert kinds[drain - 1 : drain + 2] == [StepKind.WATCH, StepKind.DRAIN_TRAFFIC, StepKind.GUARD]
    shift = kinds.index(StepKind.SHIFT_TRAFFIC)
    assert kinds[shift + 1 : shift + 3] == [StepKind.SWITCH_WORKERS, StepKind.WATCH]


def test_what_is_still_open_at_the_bound_is_ended_and_counted(theatre: Theatre) -> None:
    old = stand_with_open_requests(theatre)
    rollout = theatre.accept(theatre.release("new"))
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert theatre.result(rollout.id, "drain") == {"ended": 3}
    assert 2.0 <= seconds_of(theatre, rollout, "drain") < 2.5
    assert theatre.proxy.open_requests(generation_id(old)) == 0


def test_nobody_waits_when_nothing_is_open_any_more(theatre: Theatre) -> None:
    old = stand_with_open_requests(theatre)

    def they_leave(seconds: float) -> None:
        if theatre.proxy.current().generation != generation_id(old):
            theatre.proxy.leave(generation_id(old))

    theatre.clock.passes.append(they_leave)
    rollout = theatre.accept(theatre.release("new"))
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert theatre.result(rollout.id, "drain") == {"ended": 0}
    assert seconds_of(theatre, rollout, "drain") < 0.5


def test_a_breach_while_it_waits_goes_back(theatre: Theatre) -> None:
    old = stand_with_open_requests(theatre)
    new = theatre.release("new")
    rollout = theatre.accept(new)

    def breaks(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "drain"):
            theatre.proxy.bad.add(generation_id(new))

    end = theatre.run(rollout.id, breaks)
    assert theatre.result(rollout.id, "drain")["error"] == "GateFailed"
    gate = theatre.rollout(rollout.id).gate
    assert gate is not None
    assert gate.verdict is Verdict.FAILED
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    assert theatre.serves(old)
    assert theatre.proxy.open_requests(generation_id(old)) == 3, "nobody was ended for a release that failed"


def test_a_proxy_that_does_not_close_takes_no_good_release_back(theatre: Theatre) -> None:
    stand_with_open_requests(theatre)

    def refuses(verb: str) -> None:
        if verb == "close":
            raise Rejected("not today")

    theatre.proxy.before = refuses
    rollout = theatre.accept(theatre.release("new"))
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert theatre.result(rollout.id, "drain") == {"ended": 0, "left": 3, "error": "not today"}


def test_a_proxy_that_does_not_say_what_is_open_is_given_the_whole_time(theatre: Theatre) -> None:
    stand_with_open_requests(theatre)

    def gone(generation: str) -> int:
        raise Unreachable("nobody there")

    theatre.proxy.open_requests = gone  # type: ignore[method-assign]
    rollout = theatre.accept(theatre.release("new"))
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert seconds_of(theatre, rollout, "drain") >= 2.0


def test_without_criteria_it_waits_all_the_same(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old", criteria=()))
    theatre.proxy.hold(3)
    rollout = theatre.accept(theatre.release("new", criteria=()))
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.UNVERIFIED, str(end.outcome)
    assert theatre.result(rollout.id, "drain") == {"ended": 3}
    assert seconds_of(theatre, rollout, "drain") >= 2.0


def test_what_a_baseline_left_open_is_ended_too(theatre: Theatre) -> None:
    """Its destination has no generation."""
    proxy = theatre.proxy
    baseline = Release(
        UNIT, "", traffic=theatre.release("x").traffic, origin="baseline", upstream="10.0.0.1:80"
    )
    theatre.stand_baseline(baseline)
    proxy.hold(2)
    rollout = theatre.accept(theatre.release("new"))
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert theatre.result(rollout.id, "drain") == {"ended": 2}


def test_going_back_cuts_what_is_open_at_the_failed_one(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    new = theatre.deploy_well(theatre.release("new"))
    theatre.proxy.hold(4)
    end = theatre.go_back()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert theatre.serves(old)
    assert theatre.proxy.open_requests(generation_id(new)) == 0
    assert theatre.running(Role.WEB) == [generation_id(old)]


def test_the_bound_is_the_services_own(theatre: Theatre) -> None:
    stand_with_open_requests(theatre)
    release = theatre.release("new")
    plan = theatre.accept(replace(release, windows=replace(release.windows, drain=7.0))).plan
    (step,) = [s for s in plan.steps if s.kind is StepKind.DRAIN_TRAFFIC]
    assert step.params["seconds"] == 7.0
    assert "7 s" in str(step.title)
