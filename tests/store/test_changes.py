"""Changes, and what a change asks of rollouts, locks and the journal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lastgood.domain.change import ChangeState
from lastgood.domain.criterion import GateResult, Verdict
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.message import Message
from lastgood.domain.plan import StepKind
from lastgood.domain.rollout import Mark, RolloutState
from lastgood.store.database import SqlStore
from tests.store.making import NOW, OTHER, UNIT, change, rollout


def test_a_change_moves_and_keeps_what_is_not_given(store: SqlStore) -> None:
    first = change("c-1")
    with store.write() as work:
        work.changes.add(first)
        work.changes.add(change("c-2"))
        assert work.changes.get("c-1") == first
        work.changes.move("c-1", ChangeState.RUNNING, outcome=Message("goes"))
        work.changes.move("c-1", ChangeState.RETURNED, finished_at=NOW)
    with store.read() as work:
        ended = replace(first, state=ChangeState.RETURNED, outcome=Message("goes"), finished_at=NOW)
        assert work.changes.get("c-1") == ended
        assert [c.id for c in work.changes.open()] == ["c-2"]
        assert list(work.changes.open_ids()) == ["c-2"]
        assert [c.id for c in work.changes.list()] == ["c-2", "c-1"]
        assert [c.id for c in work.changes.list(limit=1)] == ["c-2"]


def test_a_change_is_accepted_once_and_an_unknown_one_is_named(store: SqlStore) -> None:
    with store.write() as work:
        work.changes.add(change("c-1"))
        with pytest.raises(Conflict, match="c-1"):
            work.changes.add(change("c-1"))
        with pytest.raises(InvalidInput, match="c-9"):
            work.changes.get("c-9")
        with pytest.raises(InvalidInput, match="c-9"):
            work.changes.move("c-9", ChangeState.FAILED)
        with pytest.raises(InvalidInput, match="c-9"):
            work.journal.append("c-9", "s", Mark.INTENT, {}, NOW)


def test_the_ways_back_of_a_change_are_found_newest_first(store: SqlStore) -> None:
    with store.write() as work:
        for made in (
            change("c-1"),
            change("c-1-back", "c-1"),
            change("c-3", "c-1"),
            change("c-2-back", "c-2"),
        ):
            work.changes.add(made)
        assert [c.id for c in work.changes.ways_back("c-1")] == ["c-3", "c-1-back"]
        assert work.changes.ways_back("c-3") == ()


def test_a_change_has_a_journal_of_its_own(store: SqlStore) -> None:
    with store.write() as work:
        work.changes.add(change("c-1"))
        work.journal.append("c-1", "wave:1", Mark.INTENT, {}, NOW)
        work.journal.append("c-1", "wave:1", Mark.NOTE, {"begun": "r-1-01"}, NOW)
        work.journal.append("c-1", "wave:1", Mark.DONE, {"units": 1}, NOW)
        assert [e.mark for e in work.journal.entries("c-1")] == [Mark.INTENT, Mark.NOTE, Mark.DONE]
        last = work.journal.last("c-1", "wave:1")
        assert last is not None
        assert last.data == {"units": 1}
        assert work.journal.seconds(UNIT, StepKind.ROLL_OUT_WAVE) == ()


def test_standings_tell_what_became_of_rollouts_that_exist(store: SqlStore) -> None:
    with store.write() as work:
        for name in ("r-1-01", "r-1-02", "r-1-03"):
            work.rollouts.add(rollout(name))
        work.rollouts.move("r-1-01", RolloutState.GUARDING, gate=GateResult(Verdict.PASSED, since=NOW))
        work.rollouts.move("r-1-02", RolloutState.GUARDING, gate=GateResult(Verdict.INCONCLUSIVE, since=NOW))
        work.rollouts.move("r-1-03", RolloutState.FAILED, outcome=Message("no"), finished_at=NOW)
        found = work.rollouts.standings(["r-1-01", "r-1-02", "r-1-03", "r-1-04"])
        assert sorted(found) == ["r-1-01", "r-1-02", "r-1-03"]
        assert [found[name].passed for name in sorted(found)] == [True, False, False]
        assert found["r-1-03"].finished_at == NOW
        assert str(found["r-1-03"].outcome) == "no"
        assert work.rollouts.standings([]) == {}


def test_locks_are_handed_over_and_given_up_one_by_one(store: SqlStore) -> None:
    us, de, stock = f"unit:{UNIT}", f"unit:{OTHER}", "resource:stock@prod"
    with store.write() as work:
        work.changes.add(change("c-1"))
        work.locks.take([us, de, stock], "c-1")
        work.locks.move("c-1", "r-1-01", [us])
        assert [work.locks.holder(name) for name in (us, de, stock)] == ["r-1-01", "c-1", "c-1"]
        with pytest.raises(Conflict, match="storefront@prod/us is not held by c-1"):
            work.locks.move("c-1", "r-1-02", [us, de])
    with store.write() as work:
        work.locks.release("c-1", [us, de])
        assert [work.locks.holder(name) for name in (us, de, stock)] == ["r-1-01", "", "c-1"]
        with pytest.raises(Conflict, match="held by change c-1"):
            work.locks.take([de, stock], "r-7")
        work.locks.release("c-1")
        assert work.locks.holder(stock) == ""
