"""The runner dies again and again: the change ends as it would have, and nothing is begun twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lastgood.actions.rollback_many import rollback_many
from lastgood.actions.stop import stop
from lastgood.domain.change import Change
from tests.waves.company import Company, Killed

Story = Callable[[Company, Change], object]


def good(company: Company, change: Change) -> None:
    """Nothing happens."""


def breaks(company: Company, change: Change) -> None:
    company.fate["page/de"] = "breaks"


def cannot_go_back(company: Company, change: Change) -> None:
    company.fate["page/de"] = "breaks"
    company.stuck = {"api/us"}


def is_stopped(company: Company, change: Change) -> None:
    company.at_tick[5] = lambda: stop(company.context, change.id, reason="complaints")


def is_taken_back(company: Company, change: Change) -> None:
    company.at_tick[9] = lambda: rollback_many(company.context, change.id, reason="complaints")


STORIES: tuple[Story, ...] = (good, breaks, cannot_go_back, is_stopped, is_taken_back)


def outcome(company: Company, change: Change) -> tuple[Any, ...]:
    told = company.progress(change)
    units = [(u.unit, u.kind, u.state, u.rollout, u.error) for u in told.units]
    back = told.back and (told.back.id, told.back.state, str(told.back.outcome))
    return told.change.state, str(told.change.outcome), back, units, company.everywhere(), company.holders()


def assert_once(company: Company) -> None:
    counts = Counter(event for event in company.events if event[0] in ("begun", "back"))
    assert set(counts.values()) == {1}, counts
    with company.store.read() as unit:
        outcomes = Counter(
            r.data.get("rollout") or r.data.get("change")
            for r in unit.audit.list(limit=200)
            if r.phase.value == "outcome"
        )
    assert set(outcomes.values()) == {1}, outcomes


@pytest.mark.parametrize("story", STORIES)
def test_killed_at_every_point_of_the_program(tmp_path: Path, story: Story) -> None:
    """Before and after each effect and outcome of each step, and each time that it waits."""
    undisturbed, company = Company(tmp_path / "a"), Company(tmp_path / "b")
    changes = [one.accept() for one in (undisturbed, company)]
    for one, change in zip((undisturbed, company), changes, strict=True):
        story(one, change)
    undisturbed.run()
    points: set[tuple[str, str]] = set()

    def probe(moment: str, step: str) -> None:
        if (moment, step) not in points:
            points.add((moment, step))
            raise Killed

    kills = 0
    with dying_at_each_look(company):
        while True:
            try:
                company.run(probe)
            except Killed:
                kills += 1
            else:
                break
    assert kills > len(points) > 6
    same(undisturbed, company, changes)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("story", [good, breaks])
def test_killed_after_any_of_its_transactions(tmp_path: Path, story: Story, seed: int) -> None:
    undisturbed, company = Company(tmp_path / "a"), Company(tmp_path / "b")
    changes = [one.accept() for one in (undisturbed, company)]
    for one, change in zip((undisturbed, company), changes, strict=True):
        story(one, change)
    undisturbed.run()
    kills = 0
    with dying_after_commits(company, Random(seed)):
        while True:
            try:
                company.run()
            except Killed:
                kills += 1
            else:
                break
    assert kills > 5
    same(undisturbed, company, changes)


def same(undisturbed: Company, company: Company, changes: list[Change]) -> None:
    """Ids differ between two companies, and nothing else."""
    first, second = (change.id.removeprefix("c-") for change in changes)
    wanted, got = repr(outcome(undisturbed, changes[0])), repr(outcome(company, changes[1]))
    assert got.replace(second, first) == wanted
    assert_once(company)
    for one in (undisturbed, company):
        one.store.close()


@contextmanager
def dying_at_each_look(company: Company) -> Iterator[None]:
    """Whoever waits finds the rollouts one step further, and dies."""
    sleep = company.sleep

    def die(seconds: float) -> None:
        sleep(seconds)
        raise Killed

    company.sleep = die  # type: ignore[method-assign]
    yield
    company.sleep = sleep  # type: ignore[method-assign]


@contextmanager
def dying_after_commits(company: Company, random: Random) -> Iterator[None]:
    """Half of what the program of the change writes is the last that it does."""
    sleep, write, resting = company.sleep, company.store.write, [False]

    def rest(seconds: float) -> None:
        resting[0] = True
        sleep(seconds)
        resting[0] = False

    @contextmanager
    def written() -> Iterator[Any]:
        with write() as unit:
            yield unit
        if not resting[0] and random.random() < 0.5:
            raise Killed

    dying: Callable[[], AbstractContextManager[Any]] = written
    company.sleep = rest  # type: ignore[method-assign]
    company.store.write = dying  # type: ignore[method-assign,assignment]
    yield
    company.sleep = sleep  # type: ignore[method-assign]
    company.store.write = write  # type: ignore[method-assign]
