"""The exit code of a command that followed, for every end a rollout can have."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lastgood.cli.outcome import exit_code
from lastgood.cli.trace import News, Story
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.rollout import JournalEntry, Mark, Request, Rollout, RolloutState
from lastgood.domain.status import Progress
from lastgood.domain.unit import UnitId

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UNIT = UnitId("page", "dev", "us")
STEPS = (
    Step("shift", StepKind.SHIFT_TRAFFIC, Message("Shift")),
    Step("watch", StepKind.WATCH, Message("Watch"), {"seconds": 3.0}),
    Step("guard", StepKind.GUARD, Message("Guard"), {"seconds": 6.0}),
)


def rollout(kind: PlanKind, state: RolloutState, ident: str = "r-1") -> Rollout:
    plan = Plan(kind, UNIT, "sha256:a", "sha256:b", "c", STEPS)
    change = Request("why", "owner", "impact", "me", NOW)
    return Rollout(ident, kind, UNIT, "sha256:a", "sha256:b", plan, change, state, NOW, NOW)


def failed(error: str, interrupted_by: str = "") -> tuple[JournalEntry, ...]:
    what = {"template": "{x} broke", "params": {"x": "it"}}
    data = {"error": error, "what": what, "todo": {"template": "", "params": {}}}
    return (
        JournalEntry(1, "r-1", "watch", Mark.INTENT, NOW, {}),
        JournalEntry(2, "r-1", "watch", Mark.FAILED, NOW, {**data, "interrupted_by": interrupted_by}),
    )


def story(*looks: Progress) -> Story:
    told = Story()
    for look in looks:
        told.update(look)
    return told


def deploy(state: RolloutState, error: str = "", interrupted_by: str = "") -> Progress:
    entries = failed(error, interrupted_by) if error else ()
    return Progress(rollout(PlanKind.DEPLOY, state), entries)


def back(state: RolloutState) -> Progress:
    return Progress(rollout(PlanKind.ROLLBACK, state, "r-1-back"))


S = RolloutState


@pytest.mark.parametrize(
    ("looks", "code"),
    [
        ([deploy(S.GUARDING)], 0),
        ([deploy(S.VERIFIED)], 0),
        ([deploy(S.ACCEPTED_EARLY)], 0),
        ([deploy(S.UNVERIFIED)], 6),
        ([deploy(S.FAILED, "Conflict")], 4),
        ([deploy(S.FAILED, "NotReversible")], 7),
        ([deploy(S.FAILED, "Rejected")], 8),
        ([deploy(S.FAILED, "GateFailed")], 5),
        ([deploy(S.FAILED, "KeyError")], 1),
        ([deploy(S.RETURNED, "GateFailed"), back(S.VERIFIED)], 5),
        ([deploy(S.RETURNED, "GateFailed"), back(S.UNVERIFIED)], 5),
        ([deploy(S.RETURNED, "GateFailed"), back(S.INCOMPLETE)], 10),
        ([deploy(S.RETURNED, "Unreachable"), back(S.VERIFIED)], 8),
        ([deploy(S.RETURNED, "OutcomeUnknown"), back(S.VERIFIED)], 9),
        ([deploy(S.RETURNED, "Interrupted", "ann"), back(S.VERIFIED)], 4),
    ],
)
def test_of_a_deploy(looks: list[Progress], code: int) -> None:
    assert exit_code(story(*looks), PlanKind.DEPLOY) == code


@pytest.mark.parametrize(
    ("looks", "code"),
    [
        ([back(S.VERIFIED)], 0),
        ([back(S.UNVERIFIED)], 6),
        ([back(S.FAILED)], 5),
        ([back(S.INCOMPLETE)], 10),
        ([deploy(S.RETURNED, "Interrupted", "me"), back(S.VERIFIED)], 0),
        ([deploy(S.FAILED, "Interrupted", "me")], 0),
        ([deploy(S.FAILED, "Rejected")], 4),
        ([deploy(S.VERIFIED)], 4),
    ],
)
def test_of_a_rollback(looks: list[Progress], code: int) -> None:
    assert exit_code(story(*looks), PlanKind.ROLLBACK) == code


def test_what_is_new_comes_in_its_order_and_once() -> None:
    told = Story()
    first = told.update(Progress(rollout(PlanKind.DEPLOY, S.RUNNING), failed("GateFailed")))
    assert [e.what for e in first] == [News.BEGUN, News.STEP_STARTED, News.STEP_FAILED]
    assert told.update(Progress(rollout(PlanKind.DEPLOY, S.RUNNING))) == []
    assert [e.what for e in told.update(deploy(S.RETURNED))] == [News.OVER]
    assert [e.what for e in told.update(back(S.RUNNING))] == [News.BEGUN]
    assert str(told.first.failed_step.failure if told.first.failed_step else "") == "it broke"
