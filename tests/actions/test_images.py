"""Images on their way: fetched and held forward; back with what is here, whatever else is down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.actions.heal import heal
from lastgood.actions.rollback import plan_way_back, rollback
from lastgood.domain.errors import NotReversible, Unreachable
from lastgood.domain.plan import StepKind
from lastgood.domain.release import Keep
from lastgood.domain.rollout import Rollout, RolloutState
from tests.actions.imagery import (
    ENGINE,
    image_of,
    lose_archive,
    lose_engine,
    on_two,
    pullable,
    registry_is_down,
)
from tests.actions.theatre import UNIT, Theatre

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
    assert over.state is RolloutState.FAILED
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
    registry_is_down(theatre)
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert theatre.result(end.id, "image")["tag_asked"] is False


def test_what_is_not_here_waits_for_the_registry(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    rollout = theatre.accept(theatre.release("one", image=theatre.push("1")))
    registry_is_down(theatre)
    back = theatre.clock.monotonic() + 10

    def comes_back(seconds: float) -> None:
        theatre.registry.down = theatre.clock.monotonic() < back

    theatre.clock.passes.append(comes_back)
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)


def test_what_can_not_be_had_leaves_the_unit_as_it_is(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    rollout = theatre.accept(theatre.release("one", image=theatre.push("1")))
    registry_is_down(theatre)
    assert "does not answer" in failed(theatre, rollout)


def test_what_is_left_to_the_engine_is_not_kept_here(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    new = theatre.deploy_well(theatre.release("one", image=pullable(theatre, "1"), keep=ENGINE))
    assert theatre.images.images() == ()
    assert theatre.runtime.has(image_of(new))


def test_no_restore_point_of_what_the_engine_lost_meanwhile(theatre: Theatre) -> None:
    theatre.stand(theatre.release("zero"))
    rollout = theatre.accept(theatre.release("one", image=pullable(theatre, "1"), keep=ENGINE))

    def loses(moment: str, step: str) -> None:
        if (moment, step) == ("before effect", "keep"):
            lose_engine(theatre)

    theatre.run(rollout.id, loses)
    assert "would not be whole" in str(theatre.rollout(rollout.id).outcome)


# -- back


def test_back_from_the_archive_with_registry_and_engine_cache_gone(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    registry_is_down(theatre)
    lose_engine(theatre)
    end = theatre.go_back()
    assert (end.target, end.state) == (one.digest, RolloutState.VERIFIED), str(end.outcome)
    assert theatre.runtime.has(image_of(one))
    assert end.plan.steps[0].kind is StepKind.HOLD_IMAGE
    assert theatre.result(end.id, "image")["bytes"] == 0


def test_back_with_what_the_engine_has_when_the_archive_is_gone(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    registry_is_down(theatre)
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


def test_an_engine_that_alone_could_know_has_to_answer(theatre: Theatre) -> None:
    one, _ = on_two(theatre)
    theatre.cache.down = True
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
    registry_is_down(theatre)
    lose_engine(theatre)
    rollout = heal(theatre.context, UNIT)
    assert rollout.plan.steps[0].kind is StepKind.HOLD_IMAGE
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    assert theatre.runtime.has(image_of(two))
