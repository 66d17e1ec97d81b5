"""A restore that stops: what it leaves, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from lastgood.actions.restore import plan_restore
from lastgood.domain.audit import Phase
from lastgood.domain.errors import (
    DriverError,
    OutcomeUnknown,
    Rejected,
    Unreachable,
)
from lastgood.domain.quarantine import QuarantineKind
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.rollout import RolloutState
from lastgood.domain.salvage import Salvage, Swapped
from tests.actions.restoring import RESOURCE, WHOLE, broken, open_captures
from tests.actions.theatre import UNIT, Theatre


@pytest.mark.parametrize("step", ["refuse_restore", "prepare_copy", "carry_over", "swap"])
def test_what_stops_before_the_swap_leaves_everything_as_it_was(theatre: Theatre, step: str) -> None:
    shop = broken(theatre)
    before = sorted(path.name for path in shop.database.path.parent.iterdir())
    if step == "refuse_restore":
        plan_restore(theatre.context, UNIT)

    def fails(moment: str, at: str) -> None:
        if (moment, at) == ("before effect", "check"):
            shop.database.fail_next(step, Rejected("too little room"))

    end = shop.restore(fails)
    assert end.state is RolloutState.FAILED
    assert "too little room" in str(end.outcome)
    assert shop.orders() == {1: 0, 2: 0, 3: 0, 4: 70}
    assert sorted(path.name for path in shop.database.path.parent.iterdir()) == before
    assert open_captures(theatre) == [RESOURCE], "it can be tried again"
    with theatre.store.read() as unit:
        phases = [record.phase for record in unit.audit.list(str(UNIT), 20) if record.verb == "restore"]
        assert phases.count(Phase.INTENT) == phases.count(Phase.OUTCOME)
        assert unit.locks.holder(f"resource:{RESOURCE}") == ""
        assert unit.locks.holder(f"unit:{UNIT}") == ""
    assert shop.restore().state is RolloutState.VERIFIED
    assert shop.orders() == WHOLE


def test_a_server_that_does_not_answer_is_asked_again_while_the_database_may_be_closed(
    theatre: Theatre,
) -> None:
    shop = broken(theatre)
    for _ in range(20):
        shop.database.fail_next("swap", Unreachable("away"))
        shop.database.fail_next("swap", OutcomeUnknown("no answer"))
    assert shop.restore().state is RolloutState.VERIFIED
    assert shop.orders() == WHOLE


AWAY = [OutcomeUnknown("no answer"), *(Unreachable("away") for _ in range(2000))]


@pytest.mark.parametrize("errors", [AWAY, [Rejected("the disk is full")]], ids=["away", "full"])
def test_what_stops_after_the_names_were_swapped_is_not_called_as_it_was(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch, errors: list[DriverError]
) -> None:
    shop = broken(theatre)
    swap, left = shop.database.swap, list(errors)

    def swaps_and_fails(snapshot: Snapshot, key: str, keep: Sequence[str]) -> Swapped:
        done = swap(snapshot, key, keep)
        if left:
            raise left.pop(0)
        return done

    def comes_back(moment: str, step: str) -> None:
        if step == "back:abandon":
            left.clear()

    monkeypatch.setattr(shop.database, "swap", swaps_and_fails)
    end = shop.restore(comes_back)
    assert end.state is RolloutState.INCOMPLETE, str(end.outcome)
    assert f"{RESOURCE} went back, but it stopped after that: {errors[-1].what}" in str(end.outcome)
    assert "1 later writes were carried over, 0 rows are in conflict" in str(end.outcome)
    assert shop.orders() == WHOLE
    assert open_captures(theatre) == []
    with theatre.store.read() as unit:
        (aside,) = [q for q in unit.quarantine.list() if q.kind is QuarantineKind.DATABASE]
        assert unit.audit.list(str(UNIT), 1)[0].data["failed"] == aside.name
    assert aside.name in str(end.outcome)


def test_what_to_do_by_hand_is_what_the_server_s_driver_says(theatre: Theatre) -> None:
    shop = broken(theatre)
    shop.database.fail_next("swap", Rejected("no"))
    shop.database.fail_next(
        "abandon", Rejected("away", todo="Then: ALTER DATABASE shop ALLOW_CONNECTIONS true")
    )
    end = shop.restore()
    assert end.state is RolloutState.INCOMPLETE
    assert str(end.outcome).endswith("Then: ALTER DATABASE shop ALLOW_CONNECTIONS true")


def test_a_copy_that_could_not_be_dropped_is_dropped_by_the_next(theatre: Theatre) -> None:
    shop = broken(theatre)
    shop.database.fail_next("swap", Rejected("a session can't be ended"))
    shop.database.fail_next("abandon", Rejected("it is in use"))
    end = shop.restore()
    assert end.state is RolloutState.INCOMPLETE
    assert "the copy could not be dropped: it is in use" in str(end.outcome)
    assert len(list(shop.database.path.parent.glob("*_restored_*"))) == 1
    assert shop.restore().state is RolloutState.VERIFIED
    assert list(shop.database.path.parent.glob("*_restored_*")) == []


def test_criteria_that_stay_broken_are_said(theatre: Theatre) -> None:
    shop = broken(theatre)
    theatre.proxy.bad.add(shop.good_generation)
    end = shop.restore()
    assert end.state is RolloutState.FAILED
    assert "still broken" in str(end.outcome)
    assert f"{RESOURCE} went back" in str(end.outcome)


def test_a_shop_that_writes_faster_than_is_carried_does_not_keep_it_from_ending(
    theatre: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = broken(theatre)
    carry = shop.database.carry_over
    rounds: list[int] = []

    def slower(snapshot: Snapshot, key: str, keep: Sequence[str]) -> Salvage:
        """Takes a millisecond a row, while half as many again are written."""
        done = carry(snapshot, key, keep)
        count = 600 * 3 ** len(rounds) // 2 ** len(rounds) if len(rounds) < 6 else 600
        rounds.append(count)
        with shop.database.connect() as connection:
            first = connection.execute("SELECT max(id) + 1 FROM orders").fetchone()[0]
            connection.executemany(
                "INSERT INTO orders VALUES (?, 'late', 5)", [(first + n,) for n in range(count)]
            )
        theatre.clock.time += timedelta(seconds=2 * 1.5 ** len(rounds))
        return done

    with shop.database.connect() as connection:
        connection.executemany("INSERT INTO orders VALUES (?, 'late', 5)", [(n,) for n in range(100, 700)])
    monkeypatch.setattr(shop.database, "carry_over", slower)
    end = shop.restore()
    assert end.state is RolloutState.VERIFIED, str(end.outcome)
    assert len(rounds) < 5, "each round leaves more to do than the one before"
    assert list(shop.orders().values()).count(5) == 600 + sum(rounds)
