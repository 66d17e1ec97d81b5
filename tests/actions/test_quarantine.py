"""What failed by its own fault is refused everywhere, until somebody lifts it with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.actions.abilities import generation_id
from lastgood.actions.quarantine import quarantine_add, quarantine_lift, quarantined
from lastgood.actions.rollback import plan_way_back
from lastgood.actions.set_aside import refuse_quarantined
from lastgood.actions.status import unit_statuses
from lastgood.domain.errors import Conflict, InvalidInput, NotReversible, Rejected, Unreachable
from lastgood.domain.quarantine import QuarantineKind
from lastgood.domain.release import Artifact, FileEntry, Release
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import UnitId
from tests.actions.theatre import OTHER, UNIT, Theatre


def artifact(theatre: Theatre, text: str) -> Artifact:
    return Artifact.of((FileEntry("app.py", theatre.objects.put(text.encode())),))


def fails(theatre: Theatre, new: Release) -> Rollout:
    """A deploy that breaks its gate."""
    theatre.proxy.bad.add(generation_id(new))
    rollout = theatre.accept(new)
    theatre.run(rollout.id)
    assert theatre.rollout(rollout.id).state is RolloutState.RETURNED
    return rollout


def in_force(theatre: Theatre) -> dict[QuarantineKind, str]:
    return {entry.kind: entry.name for entry in quarantined(theatre.context)}


def refused(theatre: Theatre, release: Release) -> Conflict | None:
    with theatre.store.read() as unit:
        try:
            refuse_quarantined(unit, release)
        except Conflict as conflict:
            return conflict
    return None


def test_what_differs_from_what_served_well_is_set_aside(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old", artifact=artifact(theatre, "1"), image=theatre.image("1")))
    new = replace(theatre.release("new"), artifact=artifact(theatre, "2"), image=theatre.image("2"))
    rollout = fails(theatre, new)
    assert new.image
    assert in_force(theatre) == {
        QuarantineKind.IMAGE: new.image.manifest,
        QuarantineKind.ARTIFACT: artifact(theatre, "2").digest,
        QuarantineKind.RELEASE: new.digest,
        QuarantineKind.COMMIT: "commit-new",
    }
    (entry, *_) = quarantined(theatre.context)
    assert (entry.unit, entry.incident) == (str(UNIT), f"in-{rollout.id}")
    assert refused(theatre, old) is None


def test_what_the_failed_one_shares_with_a_good_one_is_not(theatre: Theatre) -> None:
    same = {"artifact": artifact(theatre, "1"), "image": theatre.image("1"), "commit": "c"}
    theatre.stand(theatre.release("old", **same))
    new = theatre.release("new", **same)
    fails(theatre, new)
    assert in_force(theatre) == {QuarantineKind.RELEASE: new.digest}


def test_it_is_refused_on_every_unit_and_the_refusal_names_the_incident(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old", image=theatre.image("1")))
    rollout = fails(theatre, theatre.release("new", image=theatre.image("2")))
    elsewhere = theatre.release("de", OTHER)
    theatre.stand(elsewhere)
    again = theatre.release(
        "again", OTHER, image=replace(theatre.image("2"), tag="latest", digest="sha256:1")
    )
    for release in (again, theatre.release("x", OTHER, commit="commit-new")):
        with pytest.raises(Conflict) as caught:
            theatre.accept(release)
        assert f"in-{rollout.id}" in str(caught.value)
        assert str(UNIT) in str(caught.value)
        assert "lastgood quarantine lift" in str(caught.value.todo)
    other_service = theatre.release("x", UnitId("mail", "prod", "us"), commit="commit-new")
    assert refused(theatre, other_service) is None
    assert refused(theatre, theatre.release("fix", OTHER)) is None


@pytest.mark.parametrize("what", ["incident", "rollout", "each"])
def test_lifted_with_a_reason_it_may_come_again(theatre: Theatre, what: str) -> None:
    theatre.stand(theatre.release("old"))
    new = theatre.release("new")
    rollout = fails(theatre, new)
    names = {"incident": [f"in-{rollout.id}"], "rollout": [rollout.id]}.get(
        what, [new.digest[7:17], "commit-new"]
    )
    for name in names:
        with pytest.raises(InvalidInput, match="reason"):
            quarantine_lift(theatre.context, name, reason=" ")
        assert quarantine_lift(theatre.context, name, reason="it was the address")
    assert in_force(theatre) == {}
    theatre.proxy.bad.clear()
    with theatre.store.write() as unit:
        for freeze in unit.incidents.freezes(UNIT):
            unit.incidents.freeze(replace(freeze, lifted_at=theatre.clock.now()))
    assert theatre.deploy(new).state is RolloutState.VERIFIED
    with theatre.store.read() as unit:
        assert {(r.verb, r.actor) for r in unit.audit.list(str(UNIT))} >= {
            ("quarantine", "lastgood"), ("quarantine lift", "ann"),
        }  # fmt: skip


def test_a_generation_that_never_gets_ready_is_at_fault(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    new = theatre.release("new")
    theatre.runtime.broken.add(generation_id(new))
    end = theatre.run(theatre.accept(new).id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert set(in_force(theatre)) == {QuarantineKind.RELEASE, QuarantineKind.COMMIT}


@pytest.mark.parametrize("error", [Unreachable("the engine is down"), Rejected("the disk is full")])
def test_a_target_that_fails_is_not_the_releases_fault(theatre: Theatre, error: Exception) -> None:
    theatre.stand(theatre.release("old"))

    def fails_to_start(*arguments: object) -> None:
        raise error

    theatre.runtime.prepare = fails_to_start  # type: ignore[method-assign]
    end = theatre.run(theatre.accept(theatre.release("new")).id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert in_force(theatre) == {}


def test_where_a_person_decides_it_is_set_aside_before_it_is_gone(theatre: Theatre) -> None:
    theatre.stand(theatre.release("old"))
    new = theatre.release("new")
    theatre.proxy.bad.add(generation_id(new))
    end = theatre.run(theatre.accept(new, automatic=False).id)
    assert end.state is RolloutState.FAILED
    assert in_force(theatre)[QuarantineKind.RELEASE] == new.digest
    (status,) = unit_statuses(theatre.context, True, UNIT)
    assert status.aside == f"in-{end.id}"
    assert theatre.go_back().state is RolloutState.VERIFIED


def test_going_back_passes_over_what_is_set_aside_and_says_so(theatre: Theatre) -> None:
    first = theatre.stand(theatre.release("first"))
    second = theatre.deploy_well(theatre.release("second"))
    third = theatre.deploy_well(theatre.release("third"))
    quarantine_add(theatre.context, QuarantineKind.RELEASE, second.digest[7:17], reason="loses orders")
    plan, target = plan_way_back(theatre.context, UNIT)
    assert target == first
    assert "passed over" in str(plan.notes[0])
    with pytest.raises(Conflict, match="loses orders"):
        plan_way_back(theatre.context, UNIT, second.digest[7:17])
    (status,) = unit_statuses(theatre.context, True, UNIT)
    assert status.way_back
    assert status.way_back.release == first.digest
    quarantine_add(theatre.context, QuarantineKind.COMMIT, "a" * 40, service="shop", reason="x")
    quarantine_add(theatre.context, QuarantineKind.RELEASE, first.digest, reason="too")
    with pytest.raises(NotReversible, match="set aside"):
        plan_way_back(theatre.context, UNIT)
    assert theatre.serves(third)


def test_an_automatic_way_back_goes_where_the_unit_came_from_all_the_same(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old"))
    new = theatre.release("new")
    theatre.proxy.bad.add(generation_id(new))
    rollout = theatre.accept(new)
    quarantine_add(theatre.context, QuarantineKind.RELEASE, old.digest, reason="set aside meanwhile")
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert theatre.serves(old)


def test_an_image_that_was_never_here_is_set_aside_by_its_whole_digest(theatre: Theatre) -> None:
    digest = "sha256:" + "ab" * 32
    made = quarantine_add(theatre.context, QuarantineKind.IMAGE, digest, reason="a hole")
    image = theatre.image("1")
    for fields in ({"digest": digest}, {"manifest": digest}, {"config": digest}):
        conflict = refused(theatre, theatre.release("new", image=replace(image, **fields)))
        assert conflict is not None
        assert "ann" in str(conflict)
        assert made.id in str(conflict.todo)
    assert refused(theatre, theatre.release("new", image=image)) is None


def test_a_few_digits_name_what_was_deployed_here(theatre: Theatre) -> None:
    old = theatre.stand(theatre.release("old", image=theatre.image("1"), artifact=artifact(theatre, "1")))
    assert old.image
    assert old.artifact
    found = quarantine_add(theatre.context, QuarantineKind.IMAGE, old.image.manifest[7:15], reason="x")
    assert found.name == old.image.manifest
    found = quarantine_add(theatre.context, QuarantineKind.ARTIFACT, old.artifact.digest[7:15], reason="x")
    assert found.name == old.artifact.digest


@pytest.mark.parametrize(
    ("kind", "name", "service", "reason"),
    [
        (QuarantineKind.IMAGE, "abcdef123", "", "x"),
        (QuarantineKind.ARTIFACT, "nothing", "", "x"),
        (QuarantineKind.RELEASE, "abcdef123", "", "x"),
        (QuarantineKind.COMMIT, "v42", "shop", "x"),
        (QuarantineKind.COMMIT, "a" * 40, "", "x"),
        (QuarantineKind.IMAGE, "sha256:" + "a" * 64, "", " "),
    ],
)
def test_what_names_nothing_or_has_no_reason_is_told(
    theatre: Theatre, kind: QuarantineKind, name: str, service: str, reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        quarantine_add(theatre.context, kind, name, service=service, reason=reason)
    assert caught.value.todo
    assert in_force(theatre) == {}


def test_lifting_asks_for_one_thing(theatre: Theatre) -> None:
    for letter in "12":
        name = "sha256:" + "ab" * 31 + f"{letter}0"
        quarantine_add(theatre.context, QuarantineKind.IMAGE, name, reason="x")
    with pytest.raises(InvalidInput, match="may be any of several"):
        quarantine_lift(theatre.context, "ababab", reason="x")
    with pytest.raises(InvalidInput, match="nothing is set aside as"):
        quarantine_lift(theatre.context, "cccccc", reason="x")
    assert len(quarantined(theatre.context)) == 2
