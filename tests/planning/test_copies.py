"""How the copy of a change that moves data is kept, and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lastgood.domain.errors import NotReversible
from lastgood.domain.message import Message
from lastgood.domain.plan import StepKind
from lastgood.domain.rehearsal import OldCode, Rehearsed
from lastgood.domain.warm_copy import Asked, CopyRoom
from lastgood.planning.copies import choose, loading
from lastgood.planning.moves import Move, plan_deploy
from tests.planning.test_moves import MOVES_DATA, RESOURCE, move, release

GIB = 1 << 30
ROOMY = CopyRoom(size=GIB, free=100 * GIB)
RIGHT = Message("CREATEDB is missing")


@pytest.mark.parametrize(
    ("room", "seconds", "warm", "reason"),
    [
        (ROOMY, 12.0, True, "its file takes about 12 s to load"),
        (ROOMY, None, True, "it has 1024 MiB, and how long its file takes to load was never measured"),
        (ROOMY, 4.0, False, "it loads in about 4.0 s"),
        (replace(ROOMY, size=9 << 20), None, False, "it has 9 MiB only"),
        (replace(ROOMY, free=2 * GIB), 12.0, False, "it needs about 2252 MiB on the server"),
        (replace(ROOMY, free=2 * GIB), 12.0, False, "2048 MiB are free"),
        (replace(ROOMY, free=None), 12.0, False, "can't be seen from here"),
        (replace(ROOMY, free=None), 12.0, False, "copy_room: 2253"),
        (replace(ROOMY, obstacle=RIGHT), 12.0, False, "CREATEDB is missing"),
        (replace(ROOMY, asked=Asked.FILE), 900.0, False, "the settings say copy: file"),
        (replace(ROOMY, asked=Asked.WARM), 1.0, True, "the settings say copy: warm"),
        (replace(ROOMY, asked=Asked.WARM, free=None), 1.0, True, "can't be seen from here"),
    ],
)
def test_the_method_and_its_reason(room: CopyRoom, seconds: float | None, warm: bool, reason: str) -> None:
    chosen = choose(room, seconds, RESOURCE)
    assert chosen.warm is warm
    assert reason in str(chosen.reason)


@pytest.mark.parametrize("less", [{"obstacle": RIGHT}, {"free": GIB}], ids=["right", "room"])
def test_asked_for_and_impossible_there_is_no_plan(less: dict[str, Any]) -> None:
    with pytest.raises(NotReversible, match="its settings ask for one"):
        choose(replace(ROOMY, asked=Asked.WARM, **less), 60.0, RESOURCE)


def spoiling(room: CopyRoom, rehearsed: Rehearsed | None = None) -> Move:
    bad = move(release("1"), release("1", "2", text="b"), ("1",), {"2": MOVES_DATA}, False)
    known = {RESOURCE: rehearsed} if rehearsed else {}
    return replace(bad, captures={RESOURCE: None}, rooms={RESOURCE: room}, rehearsed=known)


def rehearsed(seconds: float, sample: int = 0) -> Rehearsed:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Rehearsed("k", RESOURCE, "f", ("2",), OldCode.PROVEN, Message(""), sample, now,
                     {"2": 1.0}, {"2": 2.0}, seconds)  # fmt: skip


def test_the_plan_has_the_step_after_the_rehearsal_and_tells_what_going_back_costs() -> None:
    plan = plan_deploy(spoiling(ROOMY, rehearsed(33.0)))
    kinds = [step.kind for step in plan.steps]
    at = kinds.index(StepKind.WARM_COPY)
    assert (
        kinds.index(StepKind.SNAPSHOT) < kinds.index(StepKind.REHEARSE) < at < kinds.index(StepKind.MIGRATE)
    )
    (note,) = [str(note) for note in plan.notes if str(note).startswith(f"Copy of {RESOURCE}: warm")]
    assert "(about 30 s), because its file takes about 30 s to load" in note
    assert "the tail and the swap alone: about 2 s" in note
    assert StepKind.WARM_COPY not in [step.kind for step in plan.way_back]


def test_one_that_is_not_worth_it_has_no_step_and_the_reason_all_the_same() -> None:
    plan = plan_deploy(spoiling(ROOMY, rehearsed(4.5)))
    assert StepKind.WARM_COPY not in [step.kind for step in plan.steps]
    (note,) = [str(note) for note in plan.notes if str(note).startswith(f"Copy of {RESOURCE}: a file")]
    assert "because it loads in about 1.5 s" in note


def test_a_sample_says_nothing_of_the_time() -> None:
    assert loading(RESOURCE, {RESOURCE: rehearsed(9.0, sample=1000)}, lambda kind: ()) is None
    assert loading(RESOURCE, {}, lambda kind: (7.0, 3.0, 5.0)) == 5.0


def test_what_moves_no_data_needs_none() -> None:
    plain = replace(spoiling(ROOMY), captures={})
    assert StepKind.WARM_COPY not in [step.kind for step in plan_deploy(plain).steps]
