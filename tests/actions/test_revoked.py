"""A revoked secret never returns: not by a rollback, by itself at night, half way back, or by healing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lastgood.actions.accepting import accept_plan
from lastgood.actions.following import follow_units
from lastgood.actions.plan_change import base_of
from lastgood.actions.renewing import with_valid_secrets
from lastgood.actions.revoke import revoke
from lastgood.actions.rollback import plan_way_back, rollback
from lastgood.domain.audit import Phase
from lastgood.domain.errors import NotReversible, SecretRevoked
from lastgood.domain.plan import PlanKind, StepKind
from lastgood.domain.release import DatabaseTarget
from lastgood.domain.restore_point import PointKind
from lastgood.domain.rollout import Request, RolloutState, way_back_id
from lastgood.domain.unit import Target
from tests.actions.secretive import Secretive
from tests.actions.theatre import CANARY, UNIT, Theatre
from tests.store.making import UNIT as MAKING
from tests.store.making import change, rollout


@pytest.fixture
def unit(theatre: Theatre) -> Secretive:
    return Secretive(theatre)


def at(moment: str, step: str, act: Callable[[], object]) -> Callable[[str, str], None]:
    """Once, when a step comes to that moment."""
    left = [act]

    def probe(now: str, name: str) -> None:
        if (now, name) == (moment, step) and left:
            left.pop()()

    return probe


# Planned -------------------------------------------------------------------------------------------


def test_a_rollback_comes_up_with_the_old_state_and_the_newest_token(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "old")
    theatre.deploy_well(unit.release("two", "new"))
    unit.revoke("old")
    plan, target = plan_way_back(theatre.context, UNIT)
    assert any("was revoked" in str(note) and "ann" in str(note) for note in plan.notes)
    assert plan.difference.secrets == (), "it has the token already"
    back = unit.status().way_back
    assert back is not None
    assert (back.release, back.renewed, back.lacking) == (target.digest, ("TOKEN",), ())
    end = theatre.go_back()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    unit.assert_on("one", "new")


def test_the_renewed_state_is_a_restore_point_of_its_own_and_stands_where_the_old_one_does(
    unit: Secretive,
) -> None:
    theatre = unit.theatre
    one = unit.stand("one", "old")
    theatre.deploy_well(unit.release("two", "new"))
    unit.revoke("old")
    theatre.go_back()
    with theatre.store.read() as work:
        newest, *older = work.points.list(UNIT)
    assert (newest.kind, newest.release) == (PointKind.VERIFIED, unit.current().digest)
    assert newest.renews == next(p.id for p in older if p.release == one.digest)
    # A change is possible from here, and goes back to here.
    assert base_of(theatre.context, unit.current()) == unit.current()
    renewed = unit.current()
    theatre.deploy_well(unit.release("three", "new"))
    assert theatre.go_back().target == renewed.digest
    # What came after the old state was left: going back once more leads before it.
    plan, _ = plan_way_back(theatre.context, UNIT)
    with theatre.store.read() as work:
        zero = work.points.list(UNIT)[-1]
    assert plan.target == zero.release


def test_named_by_its_point_or_its_release_it_is_renewed_too(unit: Secretive) -> None:
    one = unit.stand("one", "old")
    unit.theatre.deploy_well(unit.release("two", "new"))
    unit.revoke("old")
    for name in (one.digest, one.digest[7:19]):
        assert plan_way_back(unit.theatre.context, UNIT, name)[1].secrets == (unit.version("new"),)


def test_without_a_valid_version_there_is_no_way_back_until_one_is_given(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "old")
    theatre.deploy_well(unit.release("two", "new"))
    unit.revoke("old")
    unit.revoke("new")
    with pytest.raises(NotReversible) as caught:
        rollback(theatre.context, UNIT)
    assert "lastgood secrets renew TOKEN" in str(caught.value.todo)
    status = unit.status()
    assert status.revoked == ("TOKEN",)
    assert status.way_back is not None
    assert status.way_back.lacking == ("TOKEN",)
    assert unit.renew("third") == unit.version("third")
    end = theatre.go_back()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    unit.assert_on("one", "third")


def test_revoked_after_it_was_planned_it_is_refused_and_planned_anew(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "old")
    theatre.deploy_well(unit.release("two", "new"))
    plan, target = plan_way_back(theatre.context, UNIT)
    unit.revoke("old")
    request = Request("test", "team", "nobody", "ann", theatre.clock.now())
    with pytest.raises(SecretRevoked, match="leaked"):
        accept_plan(theatre.context, plan, target, request)
    theatre.go_back()
    unit.assert_on("one", "new")


# By itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["watch", "guard"])
def test_revoked_inside_the_windows_the_automatic_way_back_starts_anew(unit: Secretive, step: str) -> None:
    theatre = unit.theatre
    one = unit.stand("one", "old")
    bad = unit.release("two", "new")
    rollout = theatre.accept(bad)

    def leaked() -> None:
        unit.revoke("old")
        theatre.proxy.bad.add(f"{UNIT.slug}-{bad.digest[7:19]}")

    end = theatre.run(rollout.id, at("before effect", step, leaked))
    assert (end.kind, end.state) == (PlanKind.ROLLBACK, RolloutState.VERIFIED), str(end.outcome)
    assert (end.id, end.base) == (f"{rollout.id}-back", bad.digest)
    assert end.target != one.digest
    assert any("was revoked" in str(note) for note in end.plan.notes)
    assert theatre.result(end.id, "back:start")["warm"] is False
    unit.assert_on("one", "new")
    with theatre.store.read() as work:
        record = next(r for r in work.audit.list(str(UNIT)) if r.data.get("rollout") == end.id)
    assert record.data.get("secrets") or record.phase is Phase.OUTCOME


def test_during_a_canary_the_old_workers_make_room_for_the_renewed_ones(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "old")
    bad = replace(unit.release("two", "new"), canary=CANARY)
    rollout = theatre.accept(bad)
    step = next(s.id for s in rollout.plan.steps if s.kind is StepKind.WATCH_CANARY)

    def leaked() -> None:
        unit.revoke("old")
        theatre.proxy.bad.add(f"{UNIT.slug}-{bad.digest[7:19]}")

    end = theatre.run(rollout.id, at("before effect", step, leaked))
    assert (end.id, end.state) == (f"{rollout.id}-back", RolloutState.VERIFIED), str(end.outcome)
    unit.assert_on("one", "new")


def test_what_never_gave_its_work_up_stays(unit: Secretive) -> None:
    theatre = unit.theatre
    one = unit.stand("one", "old")
    rollout = theatre.accept(unit.release("two", "new"))

    def leaked_and_broken() -> None:
        unit.revoke("old")
        unit.revoke("new")

    end = theatre.run(rollout.id, at("before effect", "start", leaked_and_broken))
    assert end.target == one.digest, "it runs as it did before; nothing came back"
    unit.assert_on("one", "old")
    assert unit.status().revoked == ("TOKEN",)


def test_without_a_valid_version_it_waits_for_a_person(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "old")
    bad = unit.release("two", "old")
    rollout = theatre.accept(bad)

    def leaked() -> None:
        unit.revoke("old")
        theatre.proxy.bad.add(f"{UNIT.slug}-{bad.digest[7:19]}")

    end = theatre.run(rollout.id, at("before effect", "guard", leaked))
    assert (end.kind, end.state) == (PlanKind.DEPLOY, RolloutState.FAILED)
    assert "lastgood secrets renew TOKEN" in str(end.outcome)
    assert unit.status().incident
    unit.renew("new")
    back = theatre.go_back()
    assert back.state is RolloutState.VERIFIED, str(back.outcome)
    unit.assert_on("one", "new")
    assert not unit.status().incident


@pytest.mark.parametrize("step", ["back:start", "back:shift", "back:workers"])
@pytest.mark.parametrize("moment", ["before effect", "after effect"])
def test_revoked_half_way_back_it_goes_once_more(unit: Secretive, step: str, moment: str) -> None:
    theatre = unit.theatre
    one = unit.stand("one", "old")
    theatre.deploy_well(unit.release("two", "new"))
    back = rollback(theatre.context, UNIT)
    end = theatre.run(back, at(moment, step, lambda: unit.revoke("old")))
    if (step, moment) == ("back:workers", "after effect"):
        # It was back already: whatever runs goes on running.
        assert (end.id, end.target) == (back, one.digest)
        assert unit.status().revoked == ("TOKEN",)
        return
    assert (end.id, end.state) == (f"{back}-back", RolloutState.VERIFIED), str(end.outcome)
    assert theatre.rollout(back).state is RolloutState.RETURNED
    unit.assert_on("one", "new")
    with theatre.store.read() as work:
        assert not work.locks.holder(f"unit:{UNIT}")


def test_a_deploy_whose_token_is_revoked_on_its_way_goes_back(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "old")
    rollout = theatre.accept(unit.release("two", "new"))
    end = theatre.run(rollout.id, at("before effect", "shift", lambda: unit.revoke("new")))
    assert end.kind is PlanKind.ROLLBACK
    unit.assert_on("one", "old")


def test_a_change_without_a_way_back_is_not_accepted(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "old")
    unit.revoke("old")
    with pytest.raises(NotReversible, match="TOKEN"):
        theatre.accept(theatre.release("two"))
    # With a new token it has one: the token that it brings.
    theatre.deploy_well(unit.release("two", "new"))


# Passwords of databases, logins of registries -------------------------------------------------------

SETTINGS = {"password": {"secret": "PASSWORD"}}
DATABASE = DatabaseTarget("shop@prod/us", Target("database", SETTINGS), users=("shop",))
REGISTRY = Target("registry", {"hosts": {"registry.example.com": SETTINGS}})


@pytest.mark.parametrize(
    ("more", "comes_back"),
    [({"databases": (DATABASE,)}, True), ({"registry": REGISTRY}, False)],
    ids=["database", "registry"],
)
def test_a_password_follows_the_same_rule(theatre: Theatre, more: dict[str, Any], comes_back: bool) -> None:
    vault = theatre.context.vault
    old, new = vault.seal("PASSWORD", "old"), vault.seal("PASSWORD", "new")
    theatre.stand(theatre.release("zero"))
    one = theatre.deploy_well(theatre.release("one", secrets=(old,), **more))
    theatre.deploy_well(theatre.release("two", secrets=(new,), **more))
    revoke(theatre.context, "PASSWORD", reason="leaked")
    # Whoever logs in does so with the new one. No generation runs with the login of a registry.
    assert with_valid_secrets(theatre.store, vault, one).secrets == (new,)
    end = theatre.go_back()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert (end.target != one.digest) is comes_back
    revoke(theatre.context, "PASSWORD", new.version, reason="leaked")
    with pytest.raises(NotReversible, match="PASSWORD"):
        with_valid_secrets(theatre.store, vault, one)
    # Going back needs no registry, so it needs no login either.
    if comes_back:
        with pytest.raises(NotReversible, match="PASSWORD"):
            plan_way_back(theatre.context, UNIT, one.digest)
    else:
        assert plan_way_back(theatre.context, UNIT, one.digest)[1] == one


def test_a_way_back_that_goes_once_more_is_followed_by_its_change(theatre: Theatre) -> None:
    going = change("c-1")
    member = next(m for m in going.plan.members() if m.unit == MAKING)
    forward = going.rollout_of(member)
    states = {
        forward: RolloutState.RETURNED,
        way_back_id(forward): RolloutState.RETURNED,
        way_back_id(way_back_id(forward)): RolloutState.RUNNING,
    }
    with theatre.store.write() as work:
        for name, state in states.items():
            work.rollouts.add(replace(rollout(name, unit=MAKING), state=state))
    with theatre.store.read() as work:
        assert follow_units(work, going)[MAKING].at_work
