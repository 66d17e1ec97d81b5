"""A database that units share: nobody comes to need what a way back is taking out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lastgood.actions.accepting import accept_plan, refuse_unsettled
from lastgood.actions.context import Actor, Context
from lastgood.actions.needs import needed_by_others
from lastgood.clock import SystemClock
from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import Conflict
from lastgood.domain.message import Message
from lastgood.domain.plan import Plan, PlanKind, Step, StepKind
from lastgood.domain.release import DatabaseTarget, Migration, Release
from lastgood.domain.rollout import Request, Rollout, RolloutState
from lastgood.domain.unit import Target, UnitId
from lastgood.store.database import SqlStore, open_store

SHARED = "shop@prod"
NOW = datetime(2026, 11, 11, 3, 0, tzinfo=UTC)
US, DE = UnitId("storefront", "prod", "us"), UnitId("storefront", "prod", "de")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = open_store(tmp_path / "state", SystemClock())
    yield made
    made.close()


def release(unit: UnitId, *names: str) -> Release:
    script = digest_bytes(b"")
    migrations = tuple(Migration(name, script, script, script) for name in names)
    return Release(unit, "c1", databases=(DatabaseTarget(SHARED, Target("postgresql"), migrations),))


def way_back(store: SqlStore, *names: str, resource: str = SHARED) -> Rollout:
    """An open rollback of the unit in the US that reverts ``names`` and holds the resource."""
    before, after = release(US, "0001_init"), release(US, "0001_init", *names)
    steps = tuple(
        Step(f"back:revert:{resource}:{name}", StepKind.REVERT_SCHEMA, Message("revert"),
             {"release": after.digest, "resource": resource, "migration": name})
        for name in names
    )  # fmt: skip
    plan = Plan(PlanKind.ROLLBACK, US, after.digest, before.digest, "c1", steps, resources=(SHARED,))
    rollout = Rollout(
        "r-1-back", PlanKind.ROLLBACK, US, after.digest, before.digest, plan,
        Request("broken", "team", "us", "ops", NOW), RolloutState.RUNNING, NOW,
    )  # fmt: skip
    with store.write() as unit:
        for one in (before, after):
            unit.releases.put(one)
        unit.rollouts.add(rollout)
        unit.locks.take([f"unit:{US}", f"resource:{SHARED}"], rollout.id)
    return rollout


def test_who_needs_what_is_being_taken_out_waits(store: SqlStore, tmp_path: Path) -> None:
    """The change is refused as a whole: no rollout, no lock."""
    rollout = way_back(store, "0002_gift")
    wanted = release(DE, "0001_init", "0002_gift")
    parts: Any = None  # accepting needs nothing but the store, the clock and who asks
    context = Context(store, parts, parts, parts, parts, parts, SystemClock(), Actor("ops", "here"), tmp_path)
    plan = Plan(PlanKind.DEPLOY, DE, "", wanted.digest, "c1", ())
    with pytest.raises(Conflict) as caught:
        accept_plan(context, plan, wanted, Request("gifts", "team", "de", "ops", NOW))
    assert rollout.id in str(caught.value)
    assert "0002_gift" in str(caught.value)
    with store.read() as unit:
        assert [r.id for r in unit.rollouts.open()] == [rollout.id]
        assert unit.locks.holder(f"unit:{DE}") == ""


def test_who_does_not_need_it_goes_on(store: SqlStore) -> None:
    way_back(store, "0002_gift")
    with store.read() as unit:
        refuse_unsettled(unit, release(DE, "0001_init"))
        refuse_unsettled(unit, replace(release(DE), databases=()))


def test_when_the_way_back_is_over_it_may_come_again(store: SqlStore) -> None:
    rollout = way_back(store, "0002_gift")
    with store.write() as unit:
        unit.rollouts.move(rollout.id, RolloutState.VERIFIED, finished_at=NOW)
        unit.locks.release(rollout.id)
    with store.read() as unit:
        refuse_unsettled(unit, release(DE, "0001_init", "0002_gift"))


def test_who_was_accepted_before_is_asked_for(store: SqlStore) -> None:
    """The other half: a release on its way, or there, keeps the migration in the database."""
    way_back(store, "0002_gift")
    there = release(DE, "0001_init", "0002_gift")
    with store.write() as unit:
        unit.releases.put(there)
        unit.releases.set_current(DE, there.digest, NOW)
    with store.read() as unit:
        assert needed_by_others(unit, US, SHARED)["0002_gift"] == (str(DE),)
