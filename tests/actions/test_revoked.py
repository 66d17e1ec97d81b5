"""A revoked secret never returns: not by a rollback, by itself at night, half way back, or by healing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lastgood.actions.heal import heal
from lastgood.actions.plan_change import base_of
from lastgood.actions.renew import renew
from lastgood.actions.revoke import revoke
from lastgood.actions.rollback import plan_way_back, rollback
from lastgood.actions.secrets import with_secrets
from lastgood.actions.status import unit_statuses
from lastgood.actions.versions import secret_versions
from lastgood.domain.audit import Phase
from lastgood.domain.digest import canonical
from lastgood.domain.errors import InvalidInput, NotReversible, SecretRevoked
from lastgood.domain.plan import PlanKind
from lastgood.domain.release import Release, SecretReference, SecretVersion
from lastgood.domain.restore_point import PointKind
from lastgood.domain.rollout import RolloutState
from lastgood.domain.status import UnitStatus
from lastgood.domain.unit import Role
from lastgood.ports.estate import Rendered
from tests.actions.theatre import OTHER, UNIT, Theatre


class Secretive:
    """A theatre whose releases have a token."""

    def __init__(self, theatre: Theatre) -> None:
        self.theatre = theatre

    def version(self, value: str) -> SecretVersion:
        return self.theatre.context.vault.version("TOKEN", value)

    def release(self, text: str, value: str) -> Release:
        return self.theatre.release(text, secrets=(self.theatre.context.vault.seal("TOKEN", value),))

    def stand(self, text: str, value: str) -> Release:
        """On a first state, given by a deploy that went well."""
        self.theatre.stand(self.theatre.release("zero"))
        return self.theatre.deploy_well(self.release(text, value))

    def revoke(self, value: str) -> None:
        revoke(self.theatre.context, "TOKEN", self.version(value).version, reason="leaked")

    def renew(self, value: str) -> SecretVersion:
        return renew(self.theatre.context, "TOKEN", value, reason="rotated").secret

    def current(self) -> Release:
        with self.theatre.store.read() as unit:
            return unit.releases.get(unit.releases.current(UNIT))

    def status(self) -> UnitStatus:
        return unit_statuses(self.theatre.context, True, UNIT)[0]

    def assert_on(self, text: str, value: str) -> None:
        """The unit is on that configuration with that token, all of it, and on nothing else."""
        release = self.current()
        assert (release.files, release.secrets) == (self.release(text, value).files, (self.version(value),))
        assert self.theatre.serves(release)
        wanted = {s.generation for s in self.theatre.runtime.status() if s.running}
        assert wanted == {f"{UNIT.slug}-{release.digest[7:19]}"}
        assert len(self.theatre.running(Role.WORKER)) == 1


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
    from lastgood.actions.accepting import accept_plan
    from lastgood.domain.rollout import Request

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
    assert end.base == bad.digest
    assert end.target != one.digest
    assert any("was revoked" in str(note) for note in end.plan.notes)
    assert theatre.result(end.id, "back:start")["warm"] is False
    unit.assert_on("one", "new")
    with theatre.store.read() as work:
        record = next(r for r in work.audit.list(str(UNIT)) if r.data.get("rollout") == end.id)
    assert record.data.get("secrets") or record.phase is Phase.OUTCOME


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


# Healing, and the verbs ----------------------------------------------------------------------------


def test_healing_starts_what_runs_with_the_newest_token(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "old")
    unit.renew("new")
    unit.revoke("old")
    assert unit.status().revoked == ("TOKEN",)
    end = theatre.run(heal(theatre.context, UNIT).id)
    assert (end.kind, end.state) == (PlanKind.HEAL, RolloutState.VERIFIED), str(end.outcome)
    unit.assert_on("one", "new")
    with theatre.store.read() as work:
        assert work.points.list(UNIT)[0].kind is PointKind.RENEWED
    assert unit.status().revoked == ()
    theatre.deploy_well(unit.release("two", "new"))


def test_the_source_that_still_gives_it_is_refused(unit: Secretive, monkeypatch: pytest.MonkeyPatch) -> None:
    unit.stand("one", "old")
    unit.revoke("old")
    monkeypatch.setenv("THE_TOKEN", "old")
    rendered = Rendered(unit.theatre.release("two"), (SecretReference("TOKEN", env="THE_TOKEN"),), {})
    with pytest.raises(InvalidInput, match="source of TOKEN still gives") as caught:
        with_secrets(unit.theatre.context, rendered)
    assert "$THE_TOKEN" in str(caught.value.todo)
    monkeypatch.setenv("THE_TOKEN", "new")
    assert with_secrets(unit.theatre.context, rendered)[0].secrets == (unit.version("new"),)


def test_without_a_version_all_but_the_newest_are_revoked(unit: Secretive) -> None:
    context = unit.theatre.context
    unit.stand("one", "first")
    with pytest.raises(InvalidInput, match="nothing to revoke"):
        revoke(context, "TOKEN", reason="rotated")
    unit.theatre.deploy_well(unit.release("two", "second"))
    unit.theatre.deploy_well(unit.release("three", "third"))
    done = revoke(context, "TOKEN", reason="rotated")
    assert {r.secret for r in done.revocations} == {unit.version("first"), unit.version("second")}
    assert (done.known, done.running, done.without) == ((), (), ())
    # Twice is told, not an error; but not if nothing is named.
    assert revoke(context, "TOKEN", unit.version("first").version[:6], reason="x").known
    with pytest.raises(InvalidInput, match="nothing to revoke"):
        revoke(context, "TOKEN", reason="rotated")
    with unit.theatre.store.read() as work:
        phases = [r.phase for r in work.audit.list("TOKEN") if r.verb == "secrets revoke"]
    assert phases == [Phase.OUTCOME, Phase.INTENT] * 2


def test_who_revokes_must_say_what_and_why(unit: Secretive) -> None:
    context = unit.theatre.context
    unit.stand("one", "first")
    for name, version, reason, match in (
        ("TOKEN", "", " ", "reason"),
        ("NAME", "", "x", "NAME"),
        ("TOKEN", "zz", "x", "no version zz"),
    ):
        with pytest.raises(InvalidInput, match=match):
            revoke(context, name, version, reason=reason)
    done = revoke(context, "TOKEN", unit.version("first").version[:4], reason="leaked")
    assert (done.running, done.without) == ((UNIT,), (UNIT,))


def test_units_with_different_values_are_told_apart(unit: Secretive) -> None:
    theatre, context = unit.theatre, unit.theatre.context
    unit.stand("one", "first")
    theatre.stand(theatre.release("zero", OTHER))
    secrets = (context.vault.seal("TOKEN", "elsewhere"),)
    theatre.deploy_well(theatre.release("one", OTHER, secrets=secrets))
    with pytest.raises(InvalidInput, match="not clear which"):
        revoke(context, "TOKEN", reason="rotated")
    with pytest.raises(InvalidInput, match="different values"):
        renew(context, "TOKEN", "next")
    assert renew(context, "TOKEN", "next", units=["shop@prod/d*"]).units == (OTHER,)
    # The other unit's token is no token of this one, however new it is.
    theatre.deploy_well(unit.release("two", "first"))
    unit.revoke("first")
    with pytest.raises(NotReversible, match="TOKEN"):
        plan_way_back(context, UNIT)


def test_renewing_refuses_what_is_empty_unknown_or_revoked(unit: Secretive) -> None:
    context = unit.theatre.context
    unit.stand("one", "first")
    assert not unit.theatre.context.vault.has(unit.version("second"))
    assert renew(context, "TOKEN", "second").replaces == (unit.version("first").version,)
    assert renew(context, "TOKEN", "second").known
    unit.revoke("first")
    for name, value, match in (
        ("TOKEN", "", "empty"),
        ("TOKEN", "a\0b", "NUL"),
        ("NAME", "x", "NAME"),
        ("TOKEN", "first", "was revoked"),
    ):
        with pytest.raises(InvalidInput, match=match):
            renew(context, name, value)


def test_the_list_says_who_uses_which_and_no_value(unit: Secretive) -> None:
    theatre = unit.theatre
    unit.stand("one", "first-value")
    theatre.deploy_well(unit.release("two", "second-value"))
    unit.revoke("first-value")
    newest, oldest = secret_versions(theatre.context)
    assert (newest.secret, newest.units, newest.newest_for) == (
        unit.version("second-value"),
        (UNIT,),
        (UNIT,),
    )
    assert (oldest.units, oldest.newest_for, len(oldest.points)) == ((), (), 1)
    assert oldest.revocation is not None
    with theatre.store.read() as work:
        everything = canonical([secret_versions(theatre.context), work.audit.list(), work.rollouts.list()])
    assert b"-value" not in everything
