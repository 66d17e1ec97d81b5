"""A change as it is drawn: each unit for itself, in 80 columns, whatever its state."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from lastgood.cli.outcome import change_exit_code
from lastgood.cli.wave_view import back_waves_view, change_view, changes_view, waves_view
from lastgood.domain.change import Change, ChangePlan, ChangeState
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.rollout import Request, RolloutState
from lastgood.domain.status import ChangeProgress, UnitProgress
from lastgood.domain.unit import UnitId
from lastgood.domain.wave import WavePolicy
from lastgood.planning.waves import PlannedUnit, plan_back, plan_waves
from lastgood.translation import translator

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UNITS = [UnitId("payment-gateway-europe", "production", f"amazon-marketplace-{n:02}") for n in range(60)]
PLANS = [
    Plan(
        PlanKind.DEPLOY, unit, "sha256:" + "a" * 64, "sha256:" + "b" * 64, "c" * 40,
        (Step("migrate:shop", StepKind.MIGRATE, Message("m"), {"resource": "shop"}),),
        notes=(Message("take care of {unit}", {"unit": str(unit)}),),
    )
    for unit in UNITS
]  # fmt: skip


def plan() -> ChangePlan:
    units = [PlannedUnit(p, frozenset({"shop"})) for p in PLANS]
    return plan_waves(units, WavePolicy(size=20, pause=60.0), {}, [UnitId("shop", "production", "us")])


def change(state: ChangeState, kind: PlanKind = PlanKind.DEPLOY) -> Change:
    made = plan() if kind is PlanKind.DEPLOY else plan_back(plan(), dict.fromkeys(UNITS, "r-1"))
    request = Request("gift notes", "team", "carts", "ann", NOW)
    return Change("c-260102-030405-3fa9", made, request, state, NOW, NOW, Message("because of this"))


def progress(state: ChangeState, *units: RolloutState | None, error: str = "") -> ChangeProgress:
    told = tuple(
        UnitProgress(1, UNITS[n], "r-260102-030405-3fa9-01", state=s, since=NOW, error=error)
        for n, s in enumerate(units)
    )
    return ChangeProgress(change(state), told)


def drawn(view: RenderableType) -> str:
    console = Console(width=80)
    with console.capture() as said:
        console.print(view)
    lines = said.get()
    assert max(len(line.rstrip()) for line in lines.splitlines()) <= 80
    return lines


def test_a_plan_of_many_units() -> None:
    t = translator("en")
    text = drawn(waves_view(t, plan(), PLANS))
    for said in (
        "60 units in 3 waves",
        "At most 4 units",
        "passed their watch",
        "Between two waves: 1 min",
        "nothing to do on: shop@production/us",
        "59 more units",
    ):
        assert said in " ".join(text.split()), said
    assert "60 units in 3 waves" in drawn(waves_view(t, plan(), PLANS, details=True))
    drawn(back_waves_view(t, plan_back(plan(), {UNITS[0]: "r-1"}, UNITS[1:])))


@pytest.mark.parametrize("state", ChangeState)
@pytest.mark.parametrize("kind", [PlanKind.DEPLOY, PlanKind.ROLLBACK])
def test_every_state_of_a_change_and_of_its_units(state: ChangeState, kind: PlanKind) -> None:
    t = translator("en")
    made = change(state, kind)
    units = tuple(
        UnitProgress(1, unit, "r-1", k, s, NOW, Message("it is broken"), "GateFailed", stays)
        for unit, k, s, stays in (
            *((UNITS[0], k, s, "") for k in (PlanKind.DEPLOY, PlanKind.ROLLBACK) for s in RolloutState),
            (UNITS[1], kind, None, "ann has it"),
        )
    )
    text = drawn(change_view(t, ChangeProgress(made, units, replace(made, id="c-2"))))
    assert "stays:" in text
    assert "gift notes" in drawn(changes_view(t, [made]))


S, C = RolloutState, ChangeState


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        (progress(C.GUARDING, S.GUARDING), 0),
        (progress(C.VERIFIED, S.VERIFIED), 0),
        (progress(C.UNVERIFIED, S.VERIFIED, S.UNVERIFIED, None), 6),
        (progress(C.STOPPED, S.VERIFIED, None), 4),
        (progress(C.FAILED, S.FAILED, None, error="Rejected"), 8),
        (progress(C.RETURNED, S.VERIFIED, S.VERIFIED, error="OutcomeUnknown"), 9),
        (progress(C.RETURNED, S.VERIFIED, S.INCOMPLETE, error="GateFailed"), 10),
        (progress(C.RETURNED, S.VERIFIED, error="Interrupted"), 4),
    ],
)
def test_the_exit_code_of_a_deploy(seen: ChangeProgress, code: int) -> None:
    assert change_exit_code(seen, PlanKind.DEPLOY) == code


@pytest.mark.parametrize(
    ("state", "code"), [(C.VERIFIED, 0), (C.UNVERIFIED, 6), (C.FAILED, 5), (C.INCOMPLETE, 10)]
)
def test_the_exit_code_of_a_way_back(state: ChangeState, code: int) -> None:
    back = change(state, PlanKind.ROLLBACK)
    followed = replace(progress(C.RETURNED, S.VERIFIED), back=back)
    assert change_exit_code(followed, PlanKind.ROLLBACK) == code
    assert change_exit_code(ChangeProgress(back, followed.units), PlanKind.ROLLBACK) == code
