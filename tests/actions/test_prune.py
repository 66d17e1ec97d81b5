"""Old restore points go, with what only they needed; what somebody needs stays, whoever dies in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lastgood.actions.abilities import generation_id
from lastgood.actions.rollback import plan_way_back
from lastgood.actions.unfreeze import unfreeze
from lastgood.domain.errors import NotReversible, Unreachable
from lastgood.domain.image import Image
from lastgood.domain.incident import Incident
from lastgood.domain.message import Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.release import Release
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.unit import Role, UnitId
from lastgood.planning.pruning import prunable
from tests.actions.theatre import BEGAN, KEEP_TWO, OTHER, UNIT, Theatre


def stood(theatre: Theatre, text: str, image: str = "", unit: UnitId = UNIT) -> Release:
    """A restore point of a unit that is there no more, with an image."""
    release = theatre.release(text, unit, keep=KEEP_TWO)
    release = theatre.stand(replace(release, image=theatre.image(image or text)))
    theatre.runtimes[unit].stop(generation_id(release), [Role.WEB, Role.WORKER])
    return release


def deploy(theatre: Theatre, text: str, image: str = "") -> Rollout:
    """From ``middle``, with ``oldest`` behind it."""
    release = theatre.release(text, keep=KEEP_TWO)
    return theatre.deploy(replace(release, image=theatre.image(image or text)))


def stand_twice(theatre: Theatre, oldest_image: str = "oldest") -> tuple[Release, Release]:
    oldest = stood(theatre, "oldest", oldest_image)
    middle = theatre.release("middle", keep=KEEP_TWO)
    return oldest, theatre.stand(replace(middle, image=theatre.image("middle")))


def points(theatre: Theatre, unit: UnitId = UNIT) -> list[str]:
    with theatre.store.read() as work:
        return [point.release for point in work.points.list(unit)]


def generations(theatre: Theatre) -> set[str]:
    return {status.generation for status in theatre.runtime.status()}


def test_the_oldest_goes_with_its_generation_and_its_image(theatre: Theatre) -> None:
    oldest, middle = stand_twice(theatre)
    end = deploy(theatre, "new")
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert points(theatre) == [end.target, middle.digest]
    assert generations(theatre) == {generation_id(middle), f"{UNIT.slug}-{end.target[7:19]}"}
    assert oldest.image
    assert middle.image
    theatre.cache.prune()
    assert not theatre.runtime.has(oldest.image)
    assert theatre.runtime.has(middle.image)
    assert oldest.image not in theatre.images.images()
    assert theatre.images.missing(middle.image) == ()
    assert theatre.result(end.id, "prune") == {"pruned": [f"rp-{oldest.digest[7:19]}"], "left": {}}
    assert theatre.objects.has(oldest.files[0].content), "content stays"
    assert theatre.go_back().target == middle.digest


def test_a_pruned_point_is_told_by_name(theatre: Theatre) -> None:
    oldest, _ = stand_twice(theatre)
    deploy(theatre, "new")
    for name in (f"rp-{oldest.digest[7:19]}", oldest.digest[7:17]):
        with pytest.raises(NotReversible, match="was pruned at") as caught:
            plan_way_back(theatre.context, UNIT, name)
        assert "commit-old" in str(caught.value.todo)


def test_without_a_number_nothing_is_pruned(theatre: Theatre) -> None:
    oldest, middle = stand_twice(theatre)
    end = theatre.deploy(theatre.release("new"))
    assert "prune" not in {step.id for step in end.plan.steps}
    assert points(theatre) == [end.target, middle.digest, oldest.digest]


def test_what_was_not_verified_prunes_nothing(theatre: Theatre) -> None:
    stand_twice(theatre)
    theatre.rate = 1.0
    assert deploy(theatre, "new").state is RolloutState.UNVERIFIED
    assert len(points(theatre)) == 2


def test_an_image_that_a_newer_point_of_the_unit_needs_stays(theatre: Theatre) -> None:
    oldest, _ = stand_twice(theatre, "middle")
    end = deploy(theatre, "new")
    assert len(points(theatre)) == 2
    assert oldest.image
    theatre.cache.prune()
    assert theatre.runtime.has(oldest.image)
    assert oldest.image in theatre.images.images()
    assert theatre.result(end.id, "prune")["left"] == {}


def test_an_image_that_another_unit_needs_stays_until_that_one_is_done_with_it(theatre: Theatre) -> None:
    stood(theatre, "de", "shared", OTHER)
    oldest, _ = stand_twice(theatre, "shared")
    assert oldest.image
    end = deploy(theatre, "new")
    assert theatre.result(end.id, "prune")["left"] == {}
    holders = {unit for unit, manifest in theatre.cache.holders if manifest == oldest.image.manifest}
    assert holders == {OTHER.slug}, "each unit protects it for itself"
    assert theatre.images.missing(oldest.image) == ()
    theatre.stand(theatre.release("de2", OTHER, keep=KEEP_TWO))
    theatre.deploy_well(theatre.release("de3", OTHER, keep=KEEP_TWO))
    assert oldest.image not in theatre.images.images()
    theatre.cache.prune()
    assert not theatre.runtime.has(oldest.image)


def test_who_comes_to_need_an_image_meanwhile_finds_it_in_the_archive(theatre: Theatre) -> None:
    oldest, _ = stand_twice(theatre)
    let_go = theatre.runtime.let_go

    def accepted_meanwhile(image: Image) -> None:
        let_go(image)
        stood(theatre, "de", "oldest", OTHER)

    theatre.runtime.let_go = accepted_meanwhile  # type: ignore[method-assign]
    deploy(theatre, "new")
    assert oldest.image
    assert theatre.images.missing(oldest.image) == ()


def test_nothing_is_taken_from_the_archive_while_an_image_is_on_its_way_into_it(theatre: Theatre) -> None:
    """It counts on the blobs that are there already."""
    oldest, _ = stand_twice(theatre)
    theatre.stand(theatre.release("de", OTHER))
    coming = theatre.image("coming")
    theatre.images.remove(coming)
    going = theatre.accept(replace(theatre.release("de2", OTHER), image=coming))
    end = deploy(theatre, "new")
    assert "not whole here yet" in str(theatre.result(end.id, "prune")["left"])
    assert oldest.image in theatre.images.images()
    assert theatre.run(going.id).state is RolloutState.VERIFIED
    end = deploy(theatre, "newer")
    assert theatre.result(end.id, "prune")["left"] == {}
    assert oldest.image not in theatre.images.images()


def test_an_engine_that_is_down_leaves_it_to_the_next_time(theatre: Theatre) -> None:
    oldest, _ = stand_twice(theatre)
    remove = theatre.runtime.remove

    def down(generation: str) -> None:
        raise Unreachable("the engine does not answer")

    theatre.runtime.remove = down  # type: ignore[method-assign]
    end = deploy(theatre, "new")
    assert end.state is RolloutState.VERIFIED, "what is verified stays verified"
    assert "does not answer" in str(theatre.result(end.id, "prune")["left"])
    assert oldest.digest not in points(theatre), "it is no way back already"
    theatre.runtime.remove = remove  # type: ignore[method-assign]
    deploy(theatre, "newer")
    assert generation_id(oldest) not in generations(theatre)
    assert oldest.image not in theatre.images.images()


class Killed(BaseException):
    """As kill -9."""


@pytest.mark.parametrize("verb", ["remove", "let_go", "archive"])
def test_killed_in_the_middle_of_it(theatre: Theatre, verb: str) -> None:
    oldest, middle = stand_twice(theatre)
    target: Any = theatre.images if verb == "archive" else theatre.runtime
    name = "remove" if verb == "archive" else verb
    real: Callable[[Any], None] = getattr(target, name)

    def die_after(what: Any) -> None:
        setattr(target, name, real)
        real(what)
        raise Killed

    setattr(target, name, die_after)
    release = theatre.release("new", keep=KEEP_TWO)
    rollout = theatre.accept(release)
    with pytest.raises(Killed):
        theatre.run(rollout.id)
    assert oldest.digest not in points(theatre)
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert points(theatre) == [release.digest, middle.digest]
    assert generation_id(oldest) not in generations(theatre)
    assert oldest.image not in theatre.images.images()
    with theatre.store.read() as unit:
        assert list(unit.points.uncleared(UNIT)) == []


def test_what_is_needed_is_never_pruned(theatre: Theatre) -> None:
    """Where the unit comes from, after it went back over several; and what an open incident is about."""
    oldest, middle = stand_twice(theatre)
    newest = theatre.deploy_well(theatre.release("new"))
    assert theatre.go_back(to=oldest.digest).state is RolloutState.VERIFIED
    with theatre.store.write() as unit:
        failed = unit.rollouts.list(UNIT)[-1]
        unit.incidents.put(Incident("in-1", UNIT, failed.id, Message("x"), BEGAN))
    assert failed.base == middle.digest
    end = deploy(theatre, "another")
    assert points(theatre) == [end.target, newest.digest, middle.digest, oldest.digest]
    assert theatre.go_back().target == oldest.digest


def test_what_failed_goes_when_as_many_proved_good_after_it(theatre: Theatre) -> None:
    stand_twice(theatre)
    broken = theatre.release("broken", keep=KEEP_TWO)
    broken = replace(broken, image=theatre.image("broken"))
    theatre.proxy.bad.add(generation_id(broken))
    assert theatre.deploy(broken).kind is PlanKind.ROLLBACK
    assert generation_id(broken) in generations(theatre)
    unfreeze(theatre.context, UNIT, reason="understood")
    deploy(theatre, "new")
    assert generation_id(broken) in generations(theatre), "one has proved good since, two are kept"
    deploy(theatre, "newer")
    assert generation_id(broken) not in generations(theatre)
    assert broken.image
    theatre.cache.prune()
    assert not theatre.runtime.has(broken.image)
    assert broken.image not in theatre.images.images()


def test_what_failed_stays_while_its_incident_is_open(theatre: Theatre) -> None:
    stand_twice(theatre)
    broken = theatre.release("broken", keep=KEEP_TWO)
    theatre.proxy.bad.add(generation_id(broken))
    theatre.deploy(broken)
    with theatre.store.write() as unit:
        incidents = unit.incidents.list(UNIT)
    unfreeze(theatre.context, UNIT, reason="understood")
    with theatre.store.write() as unit:
        for incident in incidents:
            unit.incidents.put(replace(incident, closed_at=None))
    deploy(theatre, "new")
    deploy(theatre, "newer")
    assert generation_id(broken) in generations(theatre)


def point(name: str, release: str, kind: PointKind = PointKind.VERIFIED) -> RestorePoint:
    return RestorePoint(name, UNIT, release, kind, BEGAN)


def test_releases_are_counted_once_and_a_baseline_is_the_oldest() -> None:
    kept = [point("4", "b"), point("3", "b"), point("2", "a"), point("1", "0", PointKind.BASELINE)]
    assert [p.id for p in prunable(kept, 2, (), ())] == ["1"]
    assert [p.id for p in prunable(kept, 1, (), ())] == ["2", "1"]
    assert [p.id for p in prunable(kept, 1, ("a",), ())] == ["1"]


def test_what_is_set_aside_stays_and_does_not_count() -> None:
    kept = [point("4", "d"), point("3", "c"), point("2", "b"), point("1", "a")]
    assert [p.id for p in prunable(kept, 2, (), ("c",))] == ["1"]
