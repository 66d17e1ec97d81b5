"""A rollback days later knows what was rehearsed of each migration that it passes."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.plan_change import move_between
from lastgood.domain.rehearsal import OldCode, Rehearsed
from lastgood.planning.moves import plan_rollback
from tests.actions.rehearsed import (
    ADDS,
    RESOURCE,
    Stage,
    above,
    strict,
)
from tests.actions.restoring import SPOILS
from tests.actions.theatre import UNIT


def test_what_showed_it_first_is_known_the_next_day(stage: Stage) -> None:
    made: list[Rehearsed] = []
    target = strict(stage)
    stage.deploy(target)
    with stage.theatre.store.read() as unit:
        made += unit.rehearsals.list(RESOURCE)
    back = move_between(stage.theatre.context, target, stage.old, back=True)
    assert back.undone == {RESOURCE: tuple(made)}
    assert back.fenced


def test_over_several_changes_no_older_one_is_forgotten(stage: Stage) -> None:
    both = above(stage, strict(stage), ADDS)
    with stage.theatre.store.read() as unit:
        newest = unit.rehearsals.list(RESOURCE)[0]
    assert newest.old.runs
    back = move_between(stage.theatre.context, both, stage.old, back=True)
    assert [one.old for one in back.undone[RESOURCE]] == [newest.old, OldCode.BREAKS]
    assert back.fenced


def test_what_breaks_and_has_to_stay_is_told_first(stage: Stage) -> None:
    """The newer migration moved data, so the older one under it can't be taken out."""
    both = above(stage, strict(stage), SPOILS)
    plan = plan_rollback(move_between(stage.theatre.context, both, stage.old, back=True))
    assert not [step for step in plan.steps if step.id.startswith("back:revert")]
    first = str(plan.notes[0])
    assert "0002_next can't be taken out" in first
    assert "Old code does not run" in first
    assert f"lastgood restore {UNIT}" in first


def test_what_was_deployed_counts_not_what_had_its_name(stage: Stage) -> None:
    """Another migration of the name was rehearsed since, and never deployed."""
    target = strict(stage)
    stage.deploy(target)
    with stage.theatre.store.write() as unit:
        edited = replace(unit.rehearsals.list(RESOURCE)[-1], key="edited", old=OldCode.PROVEN)
        unit.rehearsals.put(edited)
    back = move_between(stage.theatre.context, target, stage.old, back=True)
    assert [one.old for one in back.undone[RESOURCE]] == [OldCode.BREAKS]
