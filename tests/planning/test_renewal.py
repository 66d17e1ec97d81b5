"""Which version comes back in the place of a revoked one, and what becomes of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lastgood.domain.release import Release, RoleSpec, SecretVersion
from lastgood.domain.secret import Revocation, Sealing
from lastgood.domain.unit import Role, Target, UnitId
from lastgood.planning.difference import difference
from lastgood.planning.moves import Move, begun, plan_deploy, plan_heal, plan_rollback
from lastgood.planning.renewal import Renewal, renew, renewed_steps, returns

UNIT = UnitId("shop", "prod", "us")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ONE, TWO, THREE, FOUR = (SecretVersion("TOKEN", f"{n:016x}") for n in range(1, 5))
OTHER = SecretVersion("OTHER", "f" * 16)


def release(*secrets: SecretVersion, upstream: str = "") -> Release:
    return Release(
        UNIT, "c", secrets=secrets, roles=(RoleSpec(Role.WEB, ()), RoleSpec(Role.WORKER, ())),
        files_target=Target("files"), runtime=Target("runtime"), traffic=Target("proxy"), upstream=upstream,
    )  # fmt: skip


def given(*versions: SecretVersion, by_hand: Sequence[SecretVersion] = ()) -> list[Sealing]:
    """``versions`` oldest first."""
    return [Sealing(v, UNIT, NOW, "ann", v in by_hand) for v in reversed(versions)]


def renewed(
    old: Release,
    sealings: Sequence[Sealing],
    *revoked: SecretVersion,
    current: Release | None = None,
    lost: Sequence[SecretVersion] = (),
    spared: Sequence[str] = (),
) -> Renewal:
    revocations = [Revocation(secret, NOW, "bob", "leaked") for secret in revoked]
    return renew(
        old, sealings, revocations, current=current, kept=lambda secret: secret not in lost, spared=spared
    )


def test_what_is_not_revoked_stays_as_it_is() -> None:
    old = release(ONE, OTHER)
    found = renewed(old, given(ONE, TWO), TWO)
    assert found.release is old
    assert not found.changes
    assert found.notes == ()


def test_the_newest_valid_version_comes_and_the_rest_stays() -> None:
    found = renewed(release(ONE, OTHER), given(ONE, TWO, THREE), ONE)
    assert found.release == release(THREE, OTHER)
    assert found.release.digest != found.old.digest
    said = str(found.notes[0])
    assert ONE.version[:8] in said
    assert THREE.version[:8] in said
    assert "bob" in said
    assert "2026-03-01 12:00:00" in said
    assert "starts anew" in str(found.notes[1])


def test_what_was_revoked_too_or_is_lost_is_passed_over() -> None:
    sealings = given(ONE, TWO, THREE, FOUR)
    found = renewed(release(ONE), sealings, ONE, FOUR, lost=[THREE])
    assert found.release == release(TWO)


def test_what_runs_is_taken_before_what_a_deploy_brought_and_lost_again() -> None:
    sealings = given(ONE, TWO, THREE)
    assert renewed(release(ONE), sealings, ONE, current=release(TWO)).release == release(TWO)
    # Unless a person gave a newer one.
    by_hand = given(ONE, TWO, THREE, FOUR, by_hand=[FOUR])
    assert renewed(release(ONE), by_hand, ONE, current=release(TWO)).release == release(FOUR)
    older = given(ONE, FOUR, TWO, THREE, by_hand=[FOUR])
    assert renewed(release(ONE), older, ONE, current=release(TWO)).release == release(TWO)
    # And what runs is revoked itself.
    assert renewed(release(ONE), sealings, ONE, TWO, current=release(TWO)).release == release(THREE)


def test_what_runs_counts_even_where_nobody_wrote_that_it_was_given() -> None:
    assert renewed(release(ONE), [], ONE, current=release(TWO)).release == release(TWO)


def test_without_a_valid_version_it_is_told_which_is_lacking() -> None:
    found = renewed(release(ONE, OTHER), given(ONE, TWO), ONE, TWO, OTHER)
    assert [one.name for one in found.lacking] == ["TOKEN", "OTHER"]
    assert found.notes == ()


def test_the_login_of_a_registry_makes_no_other_release_by_itself() -> None:
    sealings = given(ONE, TWO)
    assert not renewed(release(ONE), sealings, ONE, spared=["TOKEN"]).changes
    # Where there is another one anyway it has the valid login, and lacking one keeps nobody from going back.
    newer = SecretVersion("OTHER", "e" * 16)
    sealings = [Sealing(newer, UNIT, NOW, "ann"), *sealings]
    assert renewed(release(ONE, OTHER), sealings, ONE, OTHER, spared=["TOKEN"]).release == release(TWO, newer)
    lacking = renewed(release(ONE, OTHER), sealings, ONE, TWO, OTHER, spared=["TOKEN"])
    assert lacking.lacking == ()


def move(base: Release, target: Release) -> Move:
    return Move(base, target, (), {}, lambda kind: (), difference(base, target, lambda digest: b""))


def test_a_renewed_way_back_starts_cold_and_names_the_old_release_nowhere() -> None:
    base, target = release(ONE, upstream="a"), release(TWO, upstream="b")
    renewal = renewed(base, given(ONE, TWO), ONE, current=target)
    plan = plan_deploy(move(base, target))
    steps = renewed_steps(plan.way_back, renewal, target)
    order = [
        "back:start",
        "back:shift",
        "back:evidence",
        "back:stop",
        "back:workers",
        "back:switch",
        "verify",
    ]
    assert [step.id for step in steps] == order
    assert all(base.digest not in step.params.values() for step in steps)
    stop = next(step for step in steps if step.id == "back:stop")
    assert stop.params["keep"] == renewal.release.digest


def test_a_base_that_never_gave_its_work_up_does_not_return() -> None:
    back = plan_deploy(move(release(ONE, upstream="a"), release(TWO, upstream="b"))).way_back
    assert not returns(begun(back, frozenset({"start", "switch"})))
    assert returns(begun(back, frozenset({"start", "switch", "shift"})))


def test_a_rollback_under_way_is_renewed_with_all_that_comes_before() -> None:
    target, source = release(ONE, upstream="a"), release(TWO, upstream="b")
    plan = plan_rollback(move(source, target))
    renewal = renewed(target, given(ONE, TWO), ONE, current=source)
    again = renewed_steps(plan.steps, renewal, source)
    assert {step.id for step in again} == {step.id for step in plan.steps}
    assert all(target.digest not in step.params.values() for step in again)


def test_healing_stops_what_runs_with_the_revoked_secret() -> None:
    old = release(ONE)
    assert "stop" not in {step.id for step in plan_heal(move(old, old)).steps}
    plan = plan_heal(move(old, release(TWO)))
    assert {"start", "shift", "workers", "stop"} <= {step.id for step in plan.steps}
    assert plan.base != plan.target
