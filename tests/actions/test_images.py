"""Images on their way: fetched and held forward; back with what is here, whatever else is down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from lastgood.actions import status
from lastgood.actions.abilities import generation_of, registry_of
from lastgood.actions.heal import heal
from lastgood.actions.prove import prove
from lastgood.actions.rollback import plan_way_back, rollback
from lastgood.actions.secrets import secrets_of_service
from lastgood.actions.status import unit_statuses
from lastgood.domain.errors import InvalidInput, NotReversible, Unreachable
from lastgood.domain.image import Image
from lastgood.domain.plan import StepKind
from lastgood.domain.proof import ImageProof
from lastgood.domain.release import Keep, Release, SecretVersion
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import Target, UnitId
from lastgood.testing.fake_runtime import FakeRuntime
from tests.actions.theatre import OTHER, UNIT, Theatre

ENGINE = Keep(image="engine")


def image_of(release: Release) -> Image:
    assert release.image is not None
    return release.image


def on_two(theatre: Theatre, **changes: Any) -> tuple[Release, Release]:
    """On ``two``, after ``one``, each deployed with an image of its own."""
    theatre.stand(theatre.release("zero"))
    one = theatre.deploy_well(theatre.release("one", image=theatre.push("1"), **changes))
    two = theatre.deploy_well(theatre.release("two", image=theatre.push("2"), **changes))
    return one, two


def lose_archive(theatre: Theatre, image: Image) -> None:
    """Somebody removed its blobs; the index does not know."""
    blobs = theatre.directory / "images/blobs/sha256"
    for digest in (image.manifest, image.config):
        (blobs / digest.removeprefix("sha256:")).unlink()


def lose_engine(theatre: Theatre) -> None:
    """``docker image prune`` by somebody."""
    theatre.runtime.images.clear()


class Down(FakeRuntime):
    """An engine that does not answer when it is asked for an image."""

    def has(self, image: Image) -> bool:
        raise Unreachable("the engine does not answer")

    def hold(self, image: Image) -> None:
        raise Unreachable("the engine does not answer")


def engine_is_down(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("has", "hold"):
        monkeypatch.setattr(FakeRuntime, name, getattr(Down, name))


# -- forward


def test_a_deploy_has_the_image_here_and_in_the_engine(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    new = theatre.release("one", image=theatre.push("1"))
    end = theatre.deploy(new)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert theatre.images.images() == (new.image,)
    assert theatre.runtime.has(image_of(new))
    result = theatre.result(end.id, "image")
    assert result == {
        "image": image_of(new).pinned, "held": True, "tag_asked": True,
        "bytes": theatre.images.size(image_of(new)),
    }  # fmt: skip


def test_it_comes_before_anything_that_changes_something(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    kinds = [s.kind for s in theatre.accept(theatre.release("one", image=theatre.push("1"))).plan.steps]
    later = (StepKind.PLACE_FILES, StepKind.START_GENERATION, StepKind.SHIFT_TRAFFIC)
    assert kinds.index(StepKind.FETCH_IMAGE) < min(kinds.index(kind) for kind in later)


def failed(theatre: Theatre, rollout: Rollout) -> str:
    """It went no further than its image; what is said of it."""
    theatre.run(rollout.id)
    over = theatre.rollout(rollout.id)
    assert over.state is RolloutState.RETURNED
    with theatre.store.read() as unit:
        assert unit.releases.current(UNIT) == rollout.base
        assert unit.journal.last(rollout.id, "start") is None
        assert list(unit.quarantine.list()) == []
    return str(over.outcome)


def test_a_tag_that_moved_since_the_plan_is_a_conflict_with_both_digests(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    planned = theatre.push("1")
    rollout = theatre.accept(theatre.release("one", image=planned))
    moved = theatre.push("1", "something else")
    said = failed(theatre, rollout)
    assert planned.digest in said
    assert moved.digest in said
    assert "shop/web:1 has moved" in said
    assert theatre.images.images() == ()


def test_an_image_by_its_digest_does_not_care_where_a_tag_went(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    planned = theatre.push("1")
    theatre.push("1", "something else")
    theatre.deploy_well(theatre.release("one", image=replace(planned, tag="")))


def test_a_tag_that_is_gone_is_refused(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    rollout = theatre.accept(theatre.release("one", image=theatre.image("1")))
    theatre.registry.forget("shop/web:1")
    assert "has no registry.example.com/shop/web:1" in failed(theatre, rollout)


def test_what_is_here_needs_no_registry_that_answers(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    rollout = theatre.accept(theatre.release("one", image=theatre.image("1")))
    theatre.registry.down = True
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert theatre.result(end.id, "image")["tag_asked"] is False


def test_what_is_not_here_waits_for_the_registry(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    rollout = theatre.accept(theatre.release("one", image=theatre.push("1")))
    theatre.registry.down = True
    back = theatre.clock.monotonic() + 10

    def comes_back(seconds: float) -> None:
        theatre.registry.down = theatre.clock.monotonic() < back

    theatre.clock.passes.append(comes_back)
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)


def test_what_can_not_be_had_leaves_the_unit_as_it_is(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    rollout = theatre.accept(theatre.release("one", image=theatre.push("1")))
    theatre.registry.down = True
    assert "does not answer" in failed(theatre, rollout)


def test_what_is_left_to_the_engine_is_not_kept_here(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    new = theatre.deploy_well(theatre.release("one", image=theatre.push("1"), keep=ENGINE))
    assert theatre.images.images() == ()
    assert theatre.runtime.has(image_of(new))


def test_no_restore_point_of_what_the_engine_lost_meanwhile(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    rollout = theatre.accept(theatre.release("one", image=theatre.push("1"), keep=ENGINE))

    def loses(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "keep"):
            lose_engine(theatre)

    theatre.run(rollout.id, loses)
    assert "would not be whole" in str(theatre.rollout(rollout.id).outcome)


# -- back


def test_back_from_the_archive_with_registry_and_engine_cache_gone(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    theatre.registry.down = True
    lose_engine(theatre)
    end = theatre.go_back()
    assert (end.target, end.state) == (one.digest, RolloutState.VERIFIED), str(end.outcome)
    assert theatre.runtime.has(image_of(one))
    assert end.plan.steps[0].kind is StepKind.HOLD_IMAGE
    assert theatre.result(end.id, "image")["bytes"] == 0


def test_back_with_what_the_engine_has_when_the_archive_is_gone(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    theatre.registry.down = True
    lose_archive(theatre, image_of(one))
    end = theatre.go_back()
    assert (end.target, end.state) == (one.digest, RolloutState.VERIFIED), str(end.outcome)


def test_back_asks_no_registry_that_would_answer(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    lose_engine(theatre)
    asked = theatre.registry.asked
    theatre.push("1", "moved since: that is nothing to a way back")
    assert theatre.go_back().target == one.digest
    assert theatre.registry.asked == asked


@pytest.mark.parametrize("keep", [Keep(), ENGINE], ids=["archive", "engine"])
def test_with_the_image_nowhere_there_is_no_way_back_and_it_says_what_to_do(
    theatre: Theatre, keep: Keep
) -> None:
    one, _ = on_two(theatre, keep=keep)
    if keep.image == "archive":
        lose_archive(theatre, image_of(one))
    lose_engine(theatre)
    with pytest.raises(NotReversible, match="neither kept here whole nor in the engine") as caught:
        plan_way_back(theatre.context, UNIT)
    assert f"lastgood prove {UNIT}" in str(caught.value.todo)


def test_an_engine_that_alone_could_know_has_to_answer(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = on_two(theatre)
    engine_is_down(theatre, monkeypatch)
    plan_way_back(theatre.context, UNIT)
    lose_archive(theatre, image_of(one))
    with pytest.raises(Unreachable):
        plan_way_back(theatre.context, UNIT)


def test_lost_between_plan_and_step_it_is_fetched_all_the_same(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    lose_engine(theatre)

    def loses(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "image"):
            lose_archive(theatre, image_of(one))

    end = theatre.run(rollback(theatre.context, UNIT), loses)
    assert (end.target, end.state) == (one.digest, RolloutState.VERIFIED), str(end.outcome)
    assert theatre.images.missing(image_of(one)) == ()


def test_heal_has_the_image_there_again(theatre: Theatre) -> None:
    _, two = on_two(theatre)
    theatre.registry.down = True
    lose_engine(theatre)
    rollout = heal(theatre.context, UNIT)
    assert rollout.plan.steps[0].kind is StepKind.HOLD_IMAGE
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert theatre.runtime.has(image_of(two))


# -- what is known of it


def way_back(theatre: Theatre) -> status.WayBack:
    (seen,) = unit_statuses(theatre.context, True, UNIT)
    assert seen.way_back is not None
    return seen.way_back


def test_status_says_what_is_missing_before_anybody_needs_it(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    assert way_back(theatre).missing == 0
    lose_archive(theatre, image_of(one))
    assert way_back(theatre).missing == 2


def test_status_asks_the_engine_for_what_it_alone_keeps(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_two(theatre, keep=ENGINE)
    assert (way_back(theatre).missing, way_back(theatre).unseen) == (0, None)
    lose_engine(theatre)
    assert way_back(theatre).missing == 1
    engine_is_down(theatre, monkeypatch)
    assert way_back(theatre).missing == 0
    assert str(way_back(theatre).unseen) == "the engine does not answer"


def test_status_does_not_ask_an_engine_for_what_is_kept_here(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_two(theatre)
    engine_is_down(theatre, monkeypatch)
    assert (way_back(theatre).missing, way_back(theatre).unseen) == (0, None)


def test_an_image_that_units_share_is_read_once(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    image = theatre.image("1")
    for unit in (UNIT, OTHER):
        theatre.stand(theatre.release("one", unit, image=image))
        theatre.stand(theatre.release("two", unit, image=theatre.image("2")))
    read: list[Image] = []
    missing = type(theatre.images).missing

    def counted(self: Any, image: Image, **how: Any) -> tuple[str, ...]:
        read.append(image)
        return missing(self, image, **how)

    monkeypatch.setattr(type(theatre.images), "missing", counted)
    assert [s.way_back.missing for s in unit_statuses(theatre.context, True) if s.way_back] == [0, 0]
    assert read == [image]


# -- proven and mended


def proof_of(theatre: Theatre, release: Release) -> ImageProof:
    proof = prove(theatre.context, UNIT)
    (found,) = [i for i in proof.images if i.digest == image_of(release).digest]
    assert proof.good == (not any(i.errors for i in proof.images) and not proof.missing)
    return found


def test_a_proof_reads_both_images_and_holds_them(theatre: Theatre) -> None:
    one, two = on_two(theatre)
    lose_engine(theatre)
    proof = prove(theatre.context, UNIT)
    assert proof.good
    assert [(i.digest, i.kept, i.held, i.lacked) for i in proof.images] == [
        (image_of(one).digest, True, True, 0), (image_of(two).digest, True, True, 0),
    ]  # fmt: skip
    assert theatre.runtime.has(image_of(one))


def test_a_proof_fetches_again_what_is_missing(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    lose_archive(theatre, image_of(one))
    lose_engine(theatre)
    theatre.push("1", "moved since")
    found = proof_of(theatre, one)
    assert (found.kept, found.held, found.lacked, found.errors) == (True, True, 2, ())
    assert found.fetched > 0
    assert way_back(theatre).missing == 0
    assert proof_of(theatre, one).fetched == 0


def rot(theatre: Theatre, digest: str) -> None:
    """Bits change under the file system, which then knows of no change."""
    path = theatre.directory / "images/blobs/sha256" / digest.removeprefix("sha256:")
    path.write_bytes(path.read_bytes()[::-1])
    seen = path.stat()
    mark = theatre.directory / "images/read/sha256" / path.name
    mark.write_text(f"[{seen.st_ino}, {seen.st_size}, {seen.st_ctime_ns}]")


def test_a_proof_finds_and_mends_what_rotted(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    rot(theatre, image_of(one).config)
    assert way_back(theatre).missing == 0, "a status does not read everything"
    found = proof_of(theatre, one)
    assert (found.kept, found.lacked, found.errors) == (True, 1, ())
    assert theatre.images.missing(image_of(one), read=True) == ()


def test_a_proof_says_what_it_could_not_mend(theatre: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = on_two(theatre)
    lose_archive(theatre, image_of(one))
    theatre.registry.down = True
    found = proof_of(theatre, one)
    assert (found.kept, found.held) == (False, True)
    assert ["does not answer" in str(error) for error in found.errors] == [True]
    engine_is_down(theatre, monkeypatch)
    found = proof_of(theatre, one)
    assert (found.kept, found.held, len(found.errors)) == (False, False, 2)
    with theatre.store.read() as unit:
        noted = unit.audit.list(str(UNIT))[0].data["images"][image_of(one).digest]
    assert len(noted) == 2


def test_of_what_is_left_to_the_engine_a_proof_asks_no_archive(theatre: Theatre) -> None:
    one, _ = on_two(theatre, keep=ENGINE)
    found = proof_of(theatre, one)
    assert (found.kept, found.held, found.lacked, found.errors) == (False, True, 0, ())


@dataclass
class Recorded:
    """Drivers that note with which settings each was asked for."""

    theatre: Theatre
    asked: list[Target]

    def get(self, unit: UnitId, target: Target) -> object:
        self.asked.append(target)
        return self.theatre.drivers.get(unit, target)


def with_login(version: str) -> dict[str, Any]:
    login = {"username": "ci", "password": {"secret": "LOGIN"}}
    return {
        "registry": Target("registry", {"hosts": {"registry.example.com": login}}),
        "secrets": (SecretVersion("LOGIN", version), SecretVersion("TOKEN", "7")),
    }


def passwords(recorded: Recorded) -> list[str]:
    hosts = [t.settings["hosts"] for t in recorded.asked if t.driver == "registry"]
    return [h["registry.example.com"]["password"]["version"] for h in hosts]


def test_the_login_is_that_of_the_release_and_the_service_does_not_get_it(theatre: Theatre) -> None:
    release = theatre.release("one", image=theatre.push("1"), **with_login("3"))
    recorded = Recorded(theatre, [])
    registry_of(recorded, release)
    assert passwords(recorded) == ["3"]
    assert release.registry == with_login("3")["registry"], "the release itself has no version in there"
    assert secrets_of_service(release) == (SecretVersion("TOKEN", "7"),)
    assert generation_of(theatre.drivers, release).secrets == (SecretVersion("TOKEN", "7"),)


def test_a_proof_logs_in_as_the_newest_release_does(theatre: Theatre) -> None:
    vault = theatre.context.vault
    versions = [vault.seal("LOGIN", value).version for value in ("old", "new")]
    releases = []
    for name, version in zip(("one", "two"), versions, strict=True):
        secrets = (SecretVersion("LOGIN", version),)
        release = theatre.release(
            name, image=theatre.image(name), **{**with_login(version), "secrets": secrets}
        )
        releases.append(theatre.stand(release))
    lose_archive(theatre, image_of(releases[0]))
    recorded = Recorded(theatre, [])
    proof = prove(replace(theatre.context, drivers=recorded), UNIT)
    assert proof.good
    assert set(passwords(recorded)) == {versions[1]}


def test_going_back_needs_no_login(theatre: Theatre) -> None:
    """Its sealed copy may be gone: it is not among what has to be whole."""
    release = theatre.release("one", image=theatre.image("1"), **with_login("never sealed"))
    theatre.stand(replace(release, secrets=(SecretVersion("LOGIN", "never sealed"),)))
    theatre.stand(theatre.release("two", image=theatre.image("2")))
    assert way_back(theatre).missing == 0
    plan_way_back(theatre.context, UNIT)


def test_an_image_without_a_registry_is_told_so(theatre: Theatre) -> None:
    with pytest.raises(InvalidInput, match="no registry that knows it"):
        registry_of(theatre.drivers, theatre.release("one", image=theatre.push("1"), registry=None))


def test_a_driver_that_is_no_registry_is_told_so(theatre: Theatre) -> None:
    with pytest.raises(InvalidInput, match="ResolvesImages"):
        registry_of(theatre.drivers, theatre.release("one", registry=Target("files")))
