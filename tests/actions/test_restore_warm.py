"""A copy stands by from before the data is moved until nobody goes back any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastgood.actions.restore import forget, plan_restore, writes_kept
from lastgood.domain.errors import NotReversible, Rejected
from lastgood.domain.plan import StepKind
from lastgood.domain.rollout import Mark, RolloutState
from lastgood.domain.warm_copy import Asked, CopyRoom
from tests.actions.restoring import RESOURCE, WHOLE, Shop
from tests.actions.theatre import UNIT, Theatre

WARM = CopyRoom(1 << 30, 1 << 40, Asked.WARM)


def broken(theatre: Theatre, room: CopyRoom = WARM) -> Shop:
    shop = Shop(theatre)
    shop.database.room = room
    assert shop.break_it().state is RolloutState.VERIFIED
    return shop


def standing(shop: Shop) -> list[Path]:
    return list(shop.database.path.parent.glob("*_warm_*"))


def notes(theatre: Theatre) -> str:
    return "\n".join(str(note) for note in plan_restore(theatre.context, UNIT).plan.notes)


def test_it_is_told_taken_and_gone(theatre: Theatre) -> None:
    shop = broken(theatre)
    (there,) = standing(shop)
    (writes,) = writes_kept(theatre.context, UNIT)
    assert writes.warm is not None
    assert writes.warm.name == there.name
    planned = plan_restore(theatre.context, UNIT)
    assert f"A warm copy of {RESOURCE} stands by" in notes(theatre)
    (copy,) = [step for step in planned.plan.steps if step.kind is StepKind.PREPARE_COPY]
    assert (str(copy.title).startswith("Take the copy"), copy.estimate.seconds) == (True, 1.0)
    with theatre.store.read() as unit:
        (kept,) = unit.points.snapshots(RESOURCE)
    assert kept.proven_at is not None, "it was loaded and compared"
    assert shop.restore().state is RolloutState.VERIFIED
    assert shop.orders() == WHOLE
    assert standing(shop) == []


def test_touched_the_plan_says_so_and_the_file_is_loaded(theatre: Theatre) -> None:
    shop = broken(theatre)
    (there,) = standing(shop)
    there.write_bytes(b"something else")
    assert f"The warm copy of {RESOURCE} can't be used: {there.name} was changed" in notes(theatre)
    restored = shop.restore()
    assert restored.state is RolloutState.VERIFIED
    with theatre.store.read() as unit:
        done = unit.journal.last(restored.id, "copy")
    assert done is not None
    assert "was changed" in done.data["warm_unusable"]
    assert shop.orders() == WHOLE
    assert standing(shop) == [], "it goes with the capture"


def test_after_a_restore_that_was_given_up_the_file_is_loaded_and_said(theatre: Theatre) -> None:
    shop = broken(theatre)
    shop.database.fail_next("carry_over", Rejected("no"))
    assert shop.restore().state is not RolloutState.VERIFIED
    assert standing(shop) == []
    assert f"The warm copy of {RESOURCE} is gone" in notes(theatre)
    assert shop.restore().state is RolloutState.VERIFIED
    assert shop.orders() == WHOLE


def test_where_it_fails_the_change_goes_on_with_the_file(theatre: Theatre) -> None:
    shop = Shop(theatre)
    shop.database.room = CopyRoom(1 << 30, 1 << 40)
    shop.database.fail_next("warm_copy", Rejected("the disk is full"))
    rollout = theatre.accept(shop.bad)
    assert StepKind.WARM_COPY in [step.kind for step in rollout.plan.steps]
    assert theatre.run(rollout.id).state is RolloutState.VERIFIED
    with theatre.store.read() as unit:
        done = unit.journal.last(rollout.id, f"warm:{RESOURCE}")
    assert done is not None
    assert (done.mark, done.data["why"]) == (Mark.DONE, "the disk is full")


def test_where_it_was_asked_for_nothing_begins_without_it(theatre: Theatre) -> None:
    shop = Shop(theatre)
    shop.database.room = WARM
    shop.database.fail_next("warm_copy", Rejected("the disk is full"))
    rollout = theatre.accept(shop.bad)
    end = theatre.run(rollout.id)
    assert end.state is RolloutState.FAILED
    assert "nothing was changed" in str(end.outcome)
    assert set(shop.orders().values()) == {100}
    assert standing(shop) == []


def test_asked_for_without_room_there_is_no_plan(theatre: Theatre) -> None:
    shop = Shop(theatre)
    shop.database.room = CopyRoom(1 << 30, 1 << 20, Asked.WARM)
    with pytest.raises(NotReversible, match="1 MiB are free"):
        theatre.accept(shop.bad)


def test_it_ends_with_the_capture(theatre: Theatre) -> None:
    shop = broken(theatre)
    assert len(standing(shop)) == 1
    forget(theatre.context, UNIT, reason="the data is right")
    assert standing(shop) == []


def test_verified_good_nobody_needs_it(theatre: Theatre) -> None:
    shop = Shop(theatre)
    shop.database.room = WARM
    assert theatre.deploy(shop.bad).state is RolloutState.VERIFIED
    assert standing(shop) == []
