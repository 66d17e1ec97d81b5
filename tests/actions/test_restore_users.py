"""A restore closes the database to every unit that uses it: all are named, measured and looked at again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.actions.abilities import generation_id, generation_of
from lastgood.actions.restore import plan_restore
from lastgood.domain.criterion import Verdict
from lastgood.domain.release import Release
from lastgood.domain.rollout import RolloutState
from lastgood.domain.unit import Role
from tests.actions.restoring import Shop, broken
from tests.actions.theatre import OTHER, UNIT, Theatre


@pytest.fixture
def shop(theatre: Theatre) -> Shop:
    return broken(theatre)


@pytest.fixture
def other(shop: Shop) -> Release:
    return shop.theatre.stand(shop.release("other", *shop.good.databases[0].migrations, unit=OTHER))


def test_the_plan_names_all_with_the_roles_that_lose_their_connections(shop: Shop, other: Release) -> None:
    plan = plan_restore(shop.theatre.context, UNIT).plan
    (note,) = [str(note) for note in plan.notes if "nobody reaches" in str(note)]
    assert f"{OTHER} (web, worker), {UNIT} (web, worker)" in note
    *_, verify, users = plan.steps
    assert [str(verify.title), verify.params["others"]] == [
        "Measure the criteria of all its users again",
        [other.digest],
    ]
    assert users.params["releases"] == [shop.good.digest, other.digest]


def test_all_of_them_are_measured(shop: Shop, other: Release) -> None:
    end = shop.restore()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert f"It was closed to {UNIT}, {OTHER}" in str(end.outcome)
    assert end.gate is not None
    assert [f.criterion for f in end.gate.findings] == ["answers", f"{OTHER} answers"]


def test_one_that_is_broken_is_named(shop: Shop, other: Release) -> None:
    shop.theatre.traffic[OTHER].bad.add(generation_id(other))
    end = shop.restore()
    assert end.state is RolloutState.FAILED
    assert f"Not good, or not known: {OTHER} answers" in str(end.outcome)
    assert end.gate is not None
    assert end.gate.findings[1].verdict is Verdict.FAILED


def test_a_worker_that_did_not_bear_it_is_seen_and_named(shop: Shop, other: Release) -> None:
    def dies(moment: str, step: str) -> None:
        if (moment, step) == ("after effect", "swap"):
            shop.theatre.runtimes[OTHER].end_by_hand(generation_id(other), Role.WORKER)

    end = shop.restore(dies)
    assert end.state is RolloutState.FAILED
    assert f"It does not run: {OTHER} worker: exited" in str(end.outcome)
    assert f"lastgood heal {OTHER}" in str(end.outcome)
    assert set(shop.orders()) == {1, 2, 3, 4}


def test_one_that_is_up_again_in_time_is_no_news(shop: Shop, other: Release) -> None:
    theatre, runtime = shop.theatre, shop.theatre.runtimes[OTHER]

    def comes_back(seconds: float) -> None:
        theatre.clock.passes.remove(comes_back)
        runtime.start(generation_of(theatre.drivers, other), [Role.WORKER])

    def dies(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "users"):
            runtime.end_by_hand(generation_id(other), Role.WORKER)
            theatre.clock.passes.append(comes_back)

    end = shop.restore(dies)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert comes_back not in theatre.clock.passes


def test_what_was_never_started_by_us_is_said_not_to_be_seen(shop: Shop) -> None:
    theatre = shop.theatre
    found = shop.release("found", *shop.good.databases[0].migrations, unit=OTHER)
    theatre.stand_baseline(replace(found, origin="baseline", upstream="127.0.0.1:1", criteria=()))
    end = shop.restore()
    assert f"Whether it runs was not seen: {OTHER}: it was not started by lastgood" in str(end.outcome)
