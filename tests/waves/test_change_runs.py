"""A change goes from wave to wave, and back when a unit fails: what became of each unit is told for each."""

from __future__ import annotations

import pytest

from lastgood.actions.rollback import rollback
from lastgood.actions.rollback_many import rollback_many
from lastgood.actions.stop import stop
from lastgood.cli.outcome import change_exit_code
from lastgood.domain.change import ChangeState
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.plan import PlanKind
from lastgood.domain.rollout import RolloutState
from lastgood.domain.wave import Wait, WavePolicy
from tests.waves.company import Company, at

S = RolloutState
FORWARD = ["api/us", "page/us", "api/de", "page/de", "api/jp", "page/jp"]


def code(company: Company, change: str, asked: PlanKind = PlanKind.DEPLOY) -> int:
    return change_exit_code(company.progress(change), asked)


def test_all_good(company: Company) -> None:
    change = company.accept()
    assert company.holders() == {change.id}
    company.run()
    assert company.order("begun") == FORWARD
    assert company.state(change) is ChangeState.VERIFIED
    assert company.everywhere() == {"new"}
    assert company.holders() == set()
    assert code(company, change.id) == 0
    with company.store.read() as unit:
        told = [(r.verb, r.subject, r.phase.value) for r in unit.audit.list(limit=100)][::-1]
        assert unit.audit.first_broken() is None
    assert told[0] == ("deploy", change.id, "intent")
    assert told[-1] == ("deploy", change.id, "outcome")
    assert len(told) == 2 + 2 * len(FORWARD)


def test_what_needs_another_waits_for_it_and_others_go_beside_it(company: Company) -> None:
    company.accept(policy=WavePolicy(size=6, concurrency=6))
    company.run()
    assert company.order("begun") == ["api/us", "api/de", "api/jp", "page/us", "page/de", "page/jp"]
    assert company.most_at_work == 3


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_at_work_than_allowed(company: Company, most: int) -> None:
    company.accept("api/us", "api/de", "api/jp", policy=WavePolicy(size=3, concurrency=most))
    company.run()
    assert company.most_at_work == most
    assert company.everywhere() == {"old", "new"}


def test_waiting_for_the_guard_window(company: Company) -> None:
    company.accept("api/us", "api/de", policy=WavePolicy(size=1, wait=Wait.GUARD))
    company.run()
    assert [e for e in company.events if e[0] != "back"] == [
        ("begun", "api/us"), ("over", "api/us"), ("begun", "api/de"), ("over", "api/de"),
    ]  # fmt: skip


def test_a_pause_lies_between_two_waves_and_not_after_the_last(company: Company) -> None:
    change = company.accept("api/us", "api/de", policy=WavePolicy(size=1, pause=10))
    company.run()
    us, de = company.told(change).values()
    assert us.since is not None
    assert de.since is not None
    assert 10 <= (de.since - us.since).total_seconds() < 11
    assert (company.time - de.since).total_seconds() < 1


def test_a_broken_unit_takes_the_finished_ones_back_in_reverse(company: Company) -> None:
    company.fate["page/de"] = "breaks"
    change = company.accept()
    company.run()
    assert company.order("begun") == FORWARD[:4]
    assert company.order("back") == ["page/de", "api/de", "page/us", "api/us"]
    assert company.everywhere() == {"old"}
    assert company.holders() == set()
    told = company.progress(change)
    assert (told.change.state, told.back and told.back.state) == (ChangeState.RETURNED, ChangeState.VERIFIED)
    units = company.told(change)
    assert [units[n].state for n in FORWARD] == [S.VERIFIED] * 4 + [None, None]
    assert [units[n].kind for n in FORWARD[:4]] == [PlanKind.ROLLBACK] * 4
    assert units["page/de"].error == "GateFailed"
    assert "page@prod/de failed" in str(told.change.outcome)
    assert code(company, change.id) == 5
    _each_unit_has_its_own_record(company, change.id)


def _each_unit_has_its_own_record(company: Company, change: str) -> None:
    with company.store.read() as unit:
        backs = [r for r in unit.rollouts.list() if r.kind is PlanKind.ROLLBACK]
        frozen = [n for n in FORWARD if unit.incidents.freezes(at(n))]
        for back in backs:
            assert back.part_of in (change, f"{change}-back")
            records = [r.phase.value for r in unit.audit.list(str(back.unit)) if r.verb == "rollback"]
            assert records == ["outcome", "intent"], back
        incidents = {r.incident for r in backs if r.id.startswith(f"r-{change[2:]}-back")}
    assert incidents == {f"in-r-{change[2:]}-04"}
    assert frozen == ["page/de"]


def test_a_breach_in_the_guard_window_of_an_earlier_unit_does_the_same(company: Company) -> None:
    company.fate["page/us"] = "late"
    change = company.accept()
    company.run()
    assert company.everywhere() == {"old"}
    assert company.state(change) is ChangeState.RETURNED
    assert set(company.order("begun")) < set(FORWARD)
    assert company.told(change)["page/us"].error == "GateFailed"


def test_a_unit_that_fails_before_anything_was_changed_takes_the_others_back(company: Company) -> None:
    company.fate["api/de"] = "harmless"
    change = company.accept()
    company.run()
    assert company.everywhere() == {"old"}
    assert company.told(change)["api/de"].state is S.FAILED
    assert company.order("back") == ["page/us", "api/us"]
    assert code(company, change.id) == 4


def test_where_nothing_was_changed_nothing_goes_back(company: Company) -> None:
    company.fate["api/us"] = "harmless"
    change = company.accept()
    company.run()
    assert company.state(change) is ChangeState.FAILED
    assert company.order("begun") == ["api/us"]
    assert company.holders() == set()


def test_a_way_back_that_stops_does_not_stop_the_others(company: Company) -> None:
    company.fate["page/de"] = "breaks"
    company.stuck = {"page/us"}
    change = company.accept()
    company.run()
    told = company.progress(change)
    assert told.back is not None
    assert told.back.state is ChangeState.INCOMPLETE
    assert "page@prod/us" in str(told.back.outcome)
    assert {n for n in FORWARD if company.on(n) == "new"} == {"page/us"}
    assert code(company, change.id) == 10
    company.stuck = set()
    again = rollback_many(company.context, change.id)
    company.run()
    assert company.everywhere() == {"old"}
    assert code(company, again, PlanKind.ROLLBACK) == 0
    assert code(company, change.id, PlanKind.ROLLBACK) == 0


def test_where_a_person_decides_the_change_waits_and_says_how(company: Company) -> None:
    company.fate["page/de"] = "breaks"
    change = company.accept(automatic=False)
    company.run()
    told = company.progress(change).change
    assert told.state is ChangeState.FAILED
    assert f"lastgood rollback --change {change.id}" in str(told.outcome)
    assert {n for n in FORWARD if company.on(n) == "new"} == set(FORWARD[:4])
    assert company.holders() == set()
    rollback_many(company.context, change.id)
    company.run()
    assert company.everywhere() == {"old"}


def test_no_evidence_no_further_wave(company: Company) -> None:
    company.fate["page/us"] = "unsure"
    change = company.accept()
    company.run()
    assert company.state(change) is ChangeState.UNVERIFIED
    assert company.order("begun") == FORWARD[:2]
    assert company.order("back") == []
    assert "lastgood" not in str(company.progress(change).change.outcome)
    assert code(company, change.id) == 6


def test_a_person_stops_it(company: Company) -> None:
    change = company.accept()
    company.at_tick[2] = lambda: stop(company.context, change.id, reason="complaints")
    company.run()
    told = company.progress(change).change
    assert told.state is ChangeState.STOPPED
    assert "complaints" in str(told.outcome)
    assert {n for n in FORWARD if company.on(n) == "new"} == set(company.order("begun")) < set(FORWARD)
    assert company.order("back") == []
    assert code(company, change.id) == 4
    with pytest.raises(Conflict, match="nothing to stop"):
        stop(company.context, change.id, reason="again")
    with pytest.raises(InvalidInput):
        stop(company.context, change.id, reason=" ")


def test_units_whose_turn_has_not_come_are_free_once_it_is_stopped(company: Company) -> None:
    first = company.accept()
    stop(company.context, first.id, reason="complaints")
    second = company.accept()
    company.run()
    assert company.state(first) is ChangeState.STOPPED
    assert company.state(second) is ChangeState.VERIFIED


def test_a_person_takes_all_of_it_back_while_it_runs(company: Company) -> None:
    change = company.accept()
    company.at_tick[9] = lambda: rollback_many(company.context, change.id, reason="complaints")
    company.run()
    assert company.everywhere() == {"old"}
    begun = company.order("begun")
    assert 2 < len(begun) < 6
    assert sorted(company.order("back")) == sorted(begun)
    assert code(company, change.id, PlanKind.ROLLBACK) == 0
    assert code(company, change.id, PlanKind.DEPLOY) == 4
    with pytest.raises(Conflict, match="nothing to stop"):
        stop(company.context, change.id, reason="late")


def test_a_person_takes_all_of_it_back_afterwards(company: Company) -> None:
    change = company.accept()
    company.run()
    back = rollback_many(company.context, change.id, reason="complaints")
    company.run()
    assert company.everywhere() == {"old"}
    assert company.order("back") == FORWARD[::-1]
    assert company.state(back) is ChangeState.VERIFIED
    with pytest.raises(Conflict, match="no unit is on the release"):
        rollback_many(company.context, change.id)


def test_what_has_moved_on_since_stays(company: Company) -> None:
    first = company.accept()
    company.run()
    company.accept("page/de", text="newer")
    company.run()
    back = rollback_many(company.context, first.id)
    company.run()
    assert company.on("page/de") == "newer"
    assert {n for n in FORWARD if company.on(n) == "old"} == set(FORWARD) - {"page/de"}
    assert [str(u) for u in company.progress(back).change.plan.left] == ["page@prod/de"]


def test_a_person_takes_back_one_unit_of_it(company: Company) -> None:
    """Its own wish: the others go on to the end of their windows, no further one begins."""
    change = company.accept()
    company.at_tick[3] = lambda: rollback(company.context, at("page/us"), reason="complaints")
    company.run()
    assert company.state(change) is ChangeState.STOPPED
    assert company.on("page/us") == "old"
    assert company.on("api/us") == "new"
    assert company.order("begun") == FORWARD[:2]


def test_a_person_goes_back_with_a_unit_whose_turn_has_not_come(company: Company) -> None:
    company.accept("api/jp", text="newer")
    company.run()
    change = company.accept()
    company.at_tick[company.ticks + 2] = lambda: rollback(company.context, at("api/jp"), reason="slow")
    company.run()
    assert company.state(change) is ChangeState.STOPPED
    assert company.on("api/jp") == "old"
    assert company.holders() == set()


def test_two_changes_at_once(company: Company) -> None:
    first = company.accept("api/us", "page/us", "api/de")
    with pytest.raises(Conflict, match=f"api@prod/de is held by change {first.id}"):
        company.accept("api/de", "page/de", "api/jp")
    assert company.holders() == {first.id}
    company.run()
    assert company.on("api/jp") == "old"


@pytest.mark.parametrize(("text", "why"), [("newer", "page@prod/de is frozen"), ("new", "set aside")])
def test_one_unit_that_is_frozen_or_set_aside_refuses_the_whole_change(
    company: Company, text: str, why: str
) -> None:
    company.fate["page/de"] = "breaks"
    company.accept("page/de")
    company.run()
    company.fate.clear()
    with pytest.raises(Conflict, match=why) as caught:
        company.accept(text=text)
    assert "page@prod" in str(caught.value)
    company.run()
    assert company.order("begun") == ["page/de"]
    assert company.holders() == set()
