"""Domain objects with as little said as a test needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from lastgood.domain.change import Change, ChangePlan, ChangeState
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.release import Release
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.domain.unit import UnitId
from lastgood.domain.wave import Member

UNIT = UnitId("storefront", "prod", "us")
OTHER = UnitId("storefront", "prod", "de")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def release(upstream: str = "", **fields: Any) -> Release:
    """``upstream`` is only there to tell one from another."""
    return replace(Release(unit=UNIT, commit="c1", upstream=upstream), **fields)


def plan(*steps: tuple[str, StepKind], unit: UnitId = UNIT, target: str = "sha256:" + "a" * 64) -> Plan:
    made = tuple(Step(name, kind, Message(name)) for name, kind in steps)
    return Plan(PlanKind.DEPLOY, unit, base="", target=target, commit="c1", steps=made)


def rollout(name: str, *steps: tuple[str, StepKind], unit: UnitId = UNIT) -> Rollout:
    return Rollout(
        id=name,
        kind=PlanKind.DEPLOY,
        unit=unit,
        base="",
        target="sha256:" + "a" * 64,
        plan=plan(*steps, unit=unit),
        change=Request("reason", "owner", "impact", "me", NOW),
        state=RolloutState.ACCEPTED,
        created_at=NOW,
    )


def change(name: str, undoes: str = "") -> Change:
    """Two units, one after the other."""
    a, b = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    waves = tuple((Member(n, unit, a, b, "sha256:plan"),) for n, unit in enumerate((UNIT, OTHER), 1))
    steps = tuple(Step(f"wave:{n}", StepKind.ROLL_OUT_WAVE, Message("wave"), {"wave": n - 1}) for n in (1, 2))
    plan = ChangePlan(PlanKind.DEPLOY, "prod", "c1", waves, steps, concurrency=1)
    request = Request("reason", "owner", "impact", "me", NOW)
    return Change(name, plan, request, ChangeState.ACCEPTED, NOW, undoes=undoes)
