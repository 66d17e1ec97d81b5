"""heal takes a unit off a revoked secret; secrets list, revoke and renew; a source that still gives one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lastgood.actions.heal import heal
from lastgood.actions.renew import renew
from lastgood.actions.revoke import revoke
from lastgood.actions.rollback import plan_way_back
from lastgood.actions.secrets import with_secrets
from lastgood.actions.versions import secret_versions
from lastgood.domain.audit import Phase
from lastgood.domain.digest import canonical
from lastgood.domain.errors import InvalidInput, NotReversible
from lastgood.domain.plan import PlanKind
from lastgood.domain.release import Keep, SecretReference
from lastgood.domain.restore_point import PointKind
from lastgood.domain.rollout import RolloutState
from lastgood.ports.estate import Rendered
from tests.actions.secretive import Secretive
from tests.actions.theatre import OTHER, UNIT, Theatre


@pytest.fixture
def unit(theatre: Theatre) -> Secretive:
    return Secretive(theatre)


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


def test_what_was_killed_before_the_bundles_can_be_asked_again(
    unit: Secretive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    theatre, context = unit.theatre, unit.theatre.context
    theatre.stand(theatre.release("zero"))
    kept = replace(unit.release("one", "first"), keep=Keep(bundles=str(tmp_path)))
    theatre.deploy_well(kept)
    theatre.deploy_well(replace(unit.release("two", "second"), keep=Keep(bundles=str(tmp_path))))
    bundle = tmp_path / f"{UNIT.slug}-{kept.digest[7:19]}"
    (bundle / "sealed").mkdir(parents=True)
    (bundle / "release.json").write_bytes(canonical(kept))
    (bundle / "sealed" / "TOKEN.age").write_bytes(context.vault.sealed(unit.version("first")))
    with monkeypatch.context() as patched:
        patched.setattr("lastgood.actions.revoke.rewrite_bundles", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            revoke(context, "TOKEN", reason="rotated")
    unit.theatre.deploy_well(replace(unit.release("three", "third"), keep=Keep(bundles=str(tmp_path))))
    for versions in (["second", "first"], ["first"]):
        again = revoke(context, "TOKEN", reason="rotated")
        assert [r.secret for r in again.revocations] == [unit.version(value) for value in versions]
        assert again.known == (unit.version("first").version,)
        assert [one.directory for one in again.bundles_left] == [str(bundle)]
        with theatre.store.read() as work:
            assert work.audit.list("TOKEN")[0].phase is Phase.OUTCOME
    shutil.rmtree(bundle)
    with pytest.raises(InvalidInput, match="nothing to revoke"):
        revoke(context, "TOKEN", reason="rotated")


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
