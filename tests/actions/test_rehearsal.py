"""Rehearsed before the plan, once; and what follows for the rollout."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from lastgood.actions.reviewing import server_notes
from lastgood.domain.errors import Cause, Conflict, DriverError, NotReversible, Rejected
from lastgood.domain.message import Message
from lastgood.domain.rehearsal import OldCode
from lastgood.domain.rollout import RolloutState
from lastgood.planning.moves import plan_deploy
from lastgood.testing.fake_database import FakeDatabase
from tests.actions.rehearsed import (
    GIFT,
    NEW,
    OLD,
    RENAMED,
    RESOURCE,
    Stage,
    strict,
    with_journey,
)
from tests.actions.restoring import INIT, SPOILS
from tests.actions.test_killed import assert_whole
from tests.actions.theatre import OTHER, UNIT

VISITS = "INSERT INTO visits (page) VALUES ('home');\n"


def test_the_same_plan_again_is_not_rehearsed_again(stage: Stage) -> None:
    target, told = stage.release("gift", GIFT, NEW), list[Message]()
    first = stage.move(target, told.append)
    assert first.rehearsed[RESOURCE].old is OldCode.PROVEN
    assert stage.move(target, told.append).rehearsed == first.rehearsed
    assert stage.shop.database.rehearsals == len(told) == 1
    assert plan_deploy(first).digest == plan_deploy(stage.move(target)).digest
    stage.move(stage.release("gift", GIFT, NEW + "-- another\n"))
    assert stage.shop.database.rehearsals == 2
    stage.shop.database.sampled = 1000
    assert stage.move(target).rehearsed[RESOURCE].sample == 1000
    assert stage.shop.database.rehearsals == 3


def test_the_rollout_looks_at_the_schema_only(stage: Stage) -> None:
    end = stage.deploy(stage.release("gift", GIFT, NEW))
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert stage.shop.database.rehearsals == 1
    assert "rehearsed" in stage.theatre.result(end.id, f"rehearse:{RESOURCE}")
    assert stage.shop.database.ask("SELECT count(*) FROM orders") == [(3,)]


@pytest.mark.parametrize(
    ("by_hand", "state"),
    [
        ("CREATE TABLE by_hand (id integer)", RolloutState.VERIFIED),
        (
            "CREATE TRIGGER closed BEFORE INSERT ON orders WHEN EXISTS (SELECT 1 FROM sqlite_master "
            "WHERE name = 'orders' AND sql LIKE '%gift%') BEGIN SELECT raise(ABORT, 'closed'); END",
            RolloutState.FAILED,
        ),
    ],
    ids=["all-the-same", "otherwise"],
)
def test_a_schema_that_changed_since_is_rehearsed_anew(
    stage: Stage, by_hand: str, state: RolloutState
) -> None:
    rollout = stage.accept(stage.move(stage.release("gift", GIFT, "")))
    stage.shop.database.ask(by_hand)
    end = stage.theatre.run(rollout.id)
    assert end.state is state, str(end.outcome)
    assert stage.shop.database.rehearsals == 2


def test_a_snapshot_of_this_very_schema_is_used_and_one_that_is_gone_does_no_harm(stage: Stage) -> None:
    taken = stage.shop.database.snapshot("kept")
    with stage.theatre.store.write() as unit:
        unit.points.add_snapshot(taken)
    stage.shop.order(4)
    stage.shop.database.discard(taken)
    assert stage.move(stage.release("gift", GIFT, NEW)).rehearsed[RESOURCE].old is OldCode.PROVEN


def test_a_snapshot_that_the_key_does_not_open_any_more_does_no_harm(stage: Stage) -> None:
    taken = stage.shop.database.snapshot("kept")
    with stage.theatre.store.write() as unit:
        unit.points.add_snapshot(taken)
    closed = DriverError("a sealed file does not open with the key", cause=Cause.WRONG_PATH)
    stage.shop.database.fail_next("rehearse", closed)
    assert stage.move(stage.release("gift", GIFT, NEW)).rehearsed[RESOURCE].copied_at is None


def test_a_snapshot_of_another_day_is_not_copied_and_the_plan_says_of_when_it_is(stage: Stage) -> None:
    now = stage.theatre.clock.now()
    target = stage.release("gift", GIFT, NEW)
    for hours, known in ((25, None), (23, now - timedelta(hours=23))):
        taken = replace(stage.shop.database.snapshot(f"{hours}"), created_at=now - timedelta(hours=hours))
        with stage.theatre.store.write() as unit:
            unit.points.add_snapshot(taken)
        move = stage.move(target)
        assert move.rehearsed[RESOURCE].copied_at == known
        notes = " ".join(str(note) for note in plan_deploy(move).notes)
        assert ("from its snapshot of 2026-" in notes) is (known is not None)
        target = stage.release("gift", GIFT, NEW + "-- another\n")


def test_what_was_rehearsed_long_ago_is_rehearsed_again(stage: Stage) -> None:
    target = stage.release("gift", GIFT, NEW)
    at = stage.move(target).rehearsed[RESOURCE].at
    stage.theatre.rate = 0
    stage.theatre.clock.sleep(6 * 86400)
    assert stage.move(target).rehearsed[RESOURCE].at == at
    stage.theatre.clock.sleep(2 * 86400)
    assert stage.move(target).rehearsed[RESOURCE].at > at
    assert stage.shop.database.rehearsals == 2


def came_since(stage: Stage, journey: str) -> None:
    """Another unit uses the database now."""
    made = stage.shop.release("other", stage.shop.migration("0001_init", INIT), unit=OTHER)
    stage.theatre.stand(with_journey(stage.theatre, made, journey))


@pytest.mark.parametrize(
    ("journey", "state"),
    [(OLD, RolloutState.VERIFIED), (VISITS, RolloutState.FAILED), ("", RolloutState.FAILED)],
    ids=["the-same", "breaks", "none"],
)
def test_who_came_to_use_it_since_the_plan_is_asked_too(
    stage: Stage, journey: str, state: RolloutState
) -> None:
    rollout = stage.accept(stage.move(stage.release("renames", RENAMED, "")))
    came_since(stage, journey)
    end = stage.theatre.run(rollout.id)
    assert end.state is state, str(end.outcome)
    if state is RolloutState.FAILED:
        assert "or who uses it" in str(end.outcome)
        assert_whole(stage.theatre, stage.old)


def test_a_fence_does_not_stop_who_came_since_the_plan(stage: Stage) -> None:
    rollout = stage.accept(stage.move(strict(stage)))
    came_since(stage, OLD)
    end = stage.theatre.run(rollout.id)
    assert end.state is RolloutState.FAILED
    assert f"{OTHER} use {RESOURCE} too" in str(end.outcome)
    assert_whole(stage.theatre, stage.old)


def test_a_schema_that_changes_meanwhile_is_a_conflict(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter(["before", "after"])
    monkeypatch.setattr(stage.shop.database, "fingerprint", lambda: next(seen))
    with pytest.raises(Conflict, match="changed while"):
        stage.move(stage.release("gift", GIFT, NEW))
    with stage.theatre.store.read() as unit:
        assert unit.rehearsals.list(RESOURCE) == ()


def test_scripts_that_fail_are_refused_before_anything(stage: Stage) -> None:
    with pytest.raises(Rejected, match="nowhere"):
        stage.move(stage.release("bad", (GIFT[0], GIFT[1], "DROP TABLE nowhere;\n"), NEW))
    more = (GIFT[0] + "CREATE TABLE x (i int);", GIFT[1], "DROP TABLE x;\n")
    leaves = stage.release("bad", more, NEW)
    with pytest.raises(NotReversible, match=r"orders\.gift was not removed"):
        stage.move(leaves)


@pytest.mark.parametrize(
    ("scripts", "old"), [(GIFT, OldCode.ADDITIVE), (RENAMED, OldCode.UNPROVEN)], ids=["adds", "renames"]
)
def test_another_unit_without_a_journey_proves_nothing(
    stage: Stage, scripts: tuple[str, str, str], old: OldCode
) -> None:
    init = stage.shop.migration("0001_init", INIT)
    other = stage.shop.release("other", init, unit=OTHER)
    stage.theatre.stand(with_journey(stage.theatre, other, ""))
    target = stage.release("next", scripts, "")
    if old.runs:
        assert stage.move(target).rehearsed[RESOURCE].old is old
    else:
        with pytest.raises(NotReversible, match=f"{OTHER} use it too"):
            stage.move(target)


def test_data_that_moves_in_a_shape_old_code_knows_goes_on_as_before(stage: Stage) -> None:
    plan = plan_deploy(stage.move(stage.release("spoils", SPOILS, OLD)))
    assert "fence" not in [step.id for step in plan.steps]
    assert plan.rehearsed[0].old is OldCode.PROVEN


class Simple(FakeDatabase):
    """A driver that rehearses in the rollout only."""

    rehearse_writes = None  # type: ignore[assignment]


def test_a_driver_that_tries_no_journeys_rehearses_in_the_rollout(stage: Stage) -> None:
    there = stage.shop.database
    simple = Simple(there.path, there.directory, there.resource)
    stage.theatre.drivers.built[UNIT, "database"] = simple
    move = stage.move(stage.release("gift", GIFT, NEW))
    assert move.rehearsed == {}
    assert any("not rehearsed yet" in str(note) for note in plan_deploy(move).notes)
    end = stage.theatre.run(stage.accept(move).id)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert simple.rehearsals == 1


def test_without_a_rehearsal_before_it_the_rollout_refuses_what_nothing_shows(stage: Stage) -> None:
    """The old release has no journey, and the migration more than adds."""
    old = stage.theatre.stand(with_journey(stage.theatre, stage.old, ""))
    end = stage.theatre.deploy(stage.release("renames", RENAMED, ""))
    assert end.state is RolloutState.FAILED
    assert "nothing shows that old code runs" in str(end.outcome)
    assert stage.theatre.serves(old)
    assert [row[0] for row in stage.shop.database.applied()] == ["0001_init"]


def test_a_rollback_is_not_refused_because_nothing_shows_it(stage: Stage) -> None:
    """To a restore point with a migration that was taken out since."""
    renames = stage.release("renames", RENAMED, "")
    assert stage.deploy(renames).state is RolloutState.VERIFIED
    assert stage.theatre.go_back().state is RolloutState.VERIFIED
    end = stage.theatre.go_back(to=renames.digest)
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert [row[0] for row in stage.shop.database.applied()] == ["0001_init", "0002_next"]


def test_without_a_rehearsal_before_it_the_rollout_refuses_what_breaks(stage: Stage) -> None:
    end = stage.theatre.deploy(strict(stage))
    assert end.state is RolloutState.FAILED
    assert "old code does not run on the new schema" in str(end.outcome)
    assert_whole(stage.theatre, stage.old)


class Unsure(FakeDatabase):
    """A driver that was tried on another server."""

    def caution(self) -> Message | None:
        return Message("not tried on this one")


def test_what_a_driver_is_not_sure_of_is_told_where_something_is_to_be_migrated(stage: Stage) -> None:
    target = stage.release("gift", GIFT, NEW)
    move, context = stage.move(target), stage.theatre.context
    assert server_notes(context, target, move.schemas) == []
    there = stage.shop.database
    stage.theatre.drivers.built[UNIT, "database"] = Unsure(there.path, there.directory, there.resource)
    assert [str(note) for note in server_notes(context, target, move.schemas)] == ["not tried on this one"]
    assert server_notes(context, target, [replace(one, pending=()) for one in move.schemas]) == []
