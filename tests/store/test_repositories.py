"""Each noun's repository keeps what its port promises."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from datetime import timedelta

import pytest

from lastgood.domain.criterion import GateResult, Sample, Verdict
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.incident import Freeze, Incident
from lastgood.domain.message import Message
from lastgood.domain.plan import StepKind
from lastgood.domain.restore_point import PointKind, RestorePoint, Snapshot
from lastgood.domain.rollout import Mark, RolloutState, StopRequest
from lastgood.ports.persistence import Store
from lastgood.store.database import SqlStore
from tests.store.conftest import SetClock
from tests.store.making import NOW, OTHER, UNIT, plan, release, rollout


def test_the_store_is_the_one_of_the_port(store: SqlStore) -> None:
    port: Store = store
    with port.read() as work:
        assert work.releases.units() == ()


def test_a_release_is_found_by_digest_and_by_prefix(store: SqlStore) -> None:
    kept = release("10.0.0.1:80")
    with store.write() as work:
        work.releases.put(kept)
        work.releases.put(release("10.0.0.2:80"))
    hexadecimal = kept.digest.removeprefix("sha256:")
    with store.read() as work:
        for name in (kept.digest, hexadecimal, hexadecimal[:12], kept.digest[:13]):
            assert work.releases.get(name) == kept


def test_a_release_keeps_the_name_it_was_given_by_an_older_version(store: SqlStore) -> None:
    kept = release("10.0.0.1:80")
    older = "sha256:" + "a1" * 32
    with store.write() as work:
        work.releases.put(kept)
    with contextlib.closing(sqlite3.connect(store.file, isolation_level=None)) as raw:
        raw.execute("UPDATE releases SET digest = ?", (older,))
    with store.read() as work:
        found = work.releases.get(older)
    assert found.digest == older
    assert found == kept


@pytest.mark.parametrize("name", ["", "sha256:", "abc", "zzzzzz", "%%%%%%", "ffffff", "sha256:" + "0" * 64])
def test_an_unknown_release_is_named(store: SqlStore, name: str) -> None:
    with store.read() as work, pytest.raises(InvalidInput) as caught:
        work.releases.get(name)
    assert name in str(caught.value)
    assert caught.value.todo


def test_a_prefix_of_several_names_them_so_that_they_can_be_told_apart(store: SqlStore) -> None:
    kept = release()
    other = kept.digest[:-1] + ("f" if kept.digest[-1] != "f" else "0")
    with store.write() as work:
        work.releases.put(kept)
    with contextlib.closing(sqlite3.connect(store.file, isolation_level=None)) as raw:
        # Content whose digest differs in the last digit only can't be found, so it is forged.
        raw.execute("INSERT INTO releases SELECT ?, unit, commit_id, document FROM releases", (other,))
    with store.read() as work, pytest.raises(InvalidInput, match="may be any of several") as caught:
        work.releases.get(kept.digest[:20])
    assert kept.digest[7:] in str(caught.value)
    assert other[7:] in str(caught.value)


def test_the_commit_is_the_last_one_the_content_came_from(store: SqlStore) -> None:
    with store.write() as work:
        work.releases.put(release(commit="c1"))
        work.releases.put(release(commit="c2"))
        work.releases.put(release(commit=""))
        assert work.releases.get(release().digest).commit == "c2"


def test_the_current_release_is_the_last_one_set(store: SqlStore) -> None:
    first, second = release("a"), release("b")
    with store.write() as work:
        assert work.releases.current(UNIT) == ""
        work.releases.set_current(UNIT, first.digest, NOW)  # before the release: the order is free
        work.releases.put(first)
        work.releases.put(second)
        work.releases.set_current(UNIT, second.digest, NOW)
        work.releases.set_current(OTHER, first.digest, NOW)
    with store.read() as work:
        assert work.releases.current(UNIT) == second.digest
        assert work.releases.units() == (OTHER, UNIT)


def test_no_unit_is_current_at_a_release_that_is_not_kept(store: SqlStore) -> None:
    with pytest.raises(Conflict), store.write() as work:
        work.releases.set_current(UNIT, release().digest, NOW)
    with store.read() as work:
        assert work.releases.current(UNIT) == ""


def test_a_rollout_moves_and_keeps_what_is_not_given(store: SqlStore) -> None:
    first = rollout("r1", ("s", StepKind.OBSERVE))
    gate = GateResult(Verdict.PASSED, since=NOW)
    with store.write() as work:
        work.rollouts.add(first)
        work.rollouts.add(rollout("r2", unit=OTHER))
        assert work.rollouts.get("r1") == first
        work.rollouts.move("r1", RolloutState.GUARDING, gate=gate)
        work.rollouts.move("r1", RolloutState.VERIFIED, outcome=Message("good"), finished_at=NOW)
    with store.read() as work:
        ended = replace(
            first, state=RolloutState.VERIFIED, gate=gate, outcome=Message("good"), finished_at=NOW
        )
        assert work.rollouts.get("r1") == ended
        assert [r.id for r in work.rollouts.open()] == ["r2"]
        assert list(work.rollouts.open_ids()) == ["r2"]
        assert [r.id for r in work.rollouts.list()] == ["r2", "r1"]
        assert [r.id for r in work.rollouts.list(limit=1)] == ["r2"]
        assert [r.id for r in work.rollouts.list(UNIT)] == ["r1"]


def test_a_rollout_is_accepted_once_and_an_unknown_one_is_named(store: SqlStore) -> None:
    with store.write() as work:
        work.rollouts.add(rollout("r1"))
        with pytest.raises(Conflict, match="r1"):
            work.rollouts.add(rollout("r1"))
        with pytest.raises(InvalidInput, match="r9"):
            work.rollouts.get("r9")
        with pytest.raises(InvalidInput, match="r9"):
            work.rollouts.move("r9", RolloutState.FAILED)
        with pytest.raises(InvalidInput, match="r9"):
            work.journal.append("r9", "s", Mark.INTENT, {}, NOW)


def test_the_journal_keeps_order_and_tells_notes_from_outcomes(store: SqlStore) -> None:
    with store.write() as work:
        work.rollouts.add(rollout("r1", ("s", StepKind.WATCH)))
        made = [
            work.journal.append("r1", "s", mark, {"n": n}, NOW)
            for n, mark in enumerate((Mark.INTENT, Mark.NOTE, Mark.DONE, Mark.NOTE))
        ]
    with store.read() as work:
        assert list(work.journal.entries("r1")) == made
        assert list(work.journal.entries("r1", after=made[1].sequence)) == made[2:]
        assert work.journal.last("r1", "s") == made[2]
        assert work.journal.last("r1", "other") is None


def test_seconds_are_those_from_the_last_intent_to_done(store: SqlStore, clock: SetClock) -> None:
    def run(name: str, seconds: float, died_first: bool = False) -> None:
        with store.write() as work:
            work.rollouts.add(rollout(name, ("a", StepKind.MIGRATE), ("b", StepKind.WATCH)))
            if died_first:
                work.journal.append(name, "a", Mark.INTENT, {}, clock.now())
                clock.sleep(1000)
            work.journal.append(name, "b", Mark.INTENT, {}, clock.now())
            work.journal.append(name, "a", Mark.INTENT, {}, clock.now())
            clock.sleep(seconds)
            work.journal.append(name, "a", Mark.DONE, {}, clock.now())
            work.journal.append(name, "b", Mark.FAILED, {}, clock.now())

    run("r1", 1.5)
    run("r2", 2.5, died_first=True)
    run("r3", -60)  # the clock was set back meanwhile
    with store.read() as work:
        assert work.journal.seconds(UNIT, StepKind.MIGRATE) == (2.5, 1.5)
        assert work.journal.seconds(UNIT, StepKind.WATCH) == ()
        assert work.journal.seconds(OTHER, StepKind.MIGRATE) == ()
    for n in range(30):
        run(f"more{n}", n)
    with store.read() as work:
        assert work.journal.seconds(UNIT, StepKind.MIGRATE) == tuple(float(n) for n in range(29, 9, -1))


def test_restore_points_are_newest_first_by_when_they_were_kept(store: SqlStore) -> None:
    kept = release()
    gate = GateResult(Verdict.PASSED)
    early = RestorePoint("p1", UNIT, kept.digest, PointKind.BASELINE, NOW)
    # The wall clock was set back before this one was kept: it is the newer all the same.
    late = RestorePoint(
        "p2", UNIT, kept.digest, PointKind.VERIFIED, NOW - timedelta(hours=1), "r1", gate, ("s1",)
    )
    with store.write() as work:
        work.releases.put(kept)
        work.points.add(early)
        work.points.add(late)
        work.points.add(replace(late, created_at=NOW))  # the step that keeps it ran twice
        with pytest.raises(Conflict, match="p2"):
            work.points.add(replace(late, kind=PointKind.BASELINE))
    with store.read() as work:
        assert work.points.list(UNIT) == (late, early)
        assert work.points.list(OTHER) == ()
        assert work.points.get("p1") == early
        with pytest.raises(InvalidInput, match="p9"):
            work.points.get("p9")


def test_a_snapshot_is_replaced_by_its_proven_self(store: SqlStore) -> None:
    first = Snapshot("s1", "shop@prod", "/s1", "0/1", "f", NOW)
    second = replace(first, id="s2")
    with store.write() as work:
        work.points.add_snapshot(first)
        work.points.add_snapshot(second)
        work.points.add_snapshot(replace(first, proven_at=NOW))
        assert work.points.snapshots("shop@prod") == (second, replace(first, proven_at=NOW))
        assert work.points.snapshots("other") == ()


def test_locks_are_all_or_none_and_name_the_holder(store: SqlStore) -> None:
    with store.write() as work:
        work.rollouts.add(rollout("r1", ("shift", StepKind.SHIFT_TRAFFIC)))
        work.locks.take(["unit:a", "resource:db"], "r1")
        work.locks.take(["unit:a"], "r1")
        work.journal.append("r1", "shift", Mark.INTENT, {}, NOW)
    with store.write() as work:
        with pytest.raises(Conflict) as caught:
            work.locks.take(["unit:b", "resource:db"], "r2")
        assert work.locks.holder("unit:b") == ""  # within the same transaction, though it was caught
    for part in ("resource:db", "r1", "accepted", "shift", "12:00"):
        assert part in str(caught.value)
    assert "lastgood show r1" in str(caught.value.todo)
    with store.write() as work:
        work.locks.move("r1", "r2")
        assert work.locks.holder("resource:db") == "r2"
        work.locks.release("r1")
        assert work.locks.holder("unit:a") == "r2"
        work.locks.release("r2")
        assert work.locks.holder("unit:a") == ""


def test_incidents_and_freezes_are_replaced_by_id(store: SqlStore) -> None:
    first = Incident("i1", UNIT, "r1", Message("orders fail"), NOW)
    freeze = Freeze("f1", str(UNIT), Message("incident"), "me", NOW, "i1")
    with store.write() as work:
        work.incidents.put(first)
        work.incidents.put(replace(first, id="i2", unit=OTHER))
        work.incidents.put(replace(first, rollback="r2"))
        work.incidents.freeze(freeze)
        assert [i.id for i in work.incidents.list()] == ["i2", "i1"]
        assert work.incidents.list(UNIT) == (replace(first, rollback="r2"),)
        assert work.incidents.freezes(UNIT) == (freeze,)
        assert work.incidents.freezes(OTHER) == ()
        work.incidents.freeze(replace(freeze, lifted_at=NOW, lifted_by="me"))
        assert work.incidents.freezes(UNIT) == ()


def test_wishes_answer_the_last_and_the_outbox_starts_once(store: SqlStore) -> None:
    wish = StopRequest("r1", "accept", "me", "looks good", NOW)
    with store.write() as work:
        assert work.wishes.asked("r1") is None
        work.wishes.ask(wish)
        work.wishes.ask(replace(wish, wish="back", reason="bytes \udce9"))
        assert work.wishes.asked("r1") == replace(wish, wish="back", reason="bytes ?")
        for name in ("r1", "r2", "r1"):
            work.wishes.enqueue(name)
        assert work.wishes.enqueued() == ("r1", "r2")
        work.wishes.started("r1")
        work.wishes.enqueue("r1")
        assert work.wishes.enqueued() == ("r2",)


def test_samples_are_oldest_first_and_no_data_stays_none(store: SqlStore) -> None:
    later = NOW + timedelta(microseconds=1)
    counted = Sample("orders", NOW, NOW, 3, 4)
    empty = Sample("delay", later, NOW, error="timed out")
    with store.write() as work:
        work.samples.add("r1", [empty, counted])
        work.samples.add("r1", [])
        assert work.samples.list("r1") == (counted, empty)
        assert work.samples.list("r1", after=NOW) == (empty,)
        assert work.samples.list("r2") == ()


def test_cursors_are_replaced_per_step(store: SqlStore) -> None:
    with store.write() as work:
        assert work.samples.cursors("r1", "watch") == {}
        work.samples.keep_cursors("r1", "watch", {"orders": {"id": 3}})
        work.samples.keep_cursors("r1", "watch", {"orders": {"id": 5}})
        work.samples.keep_cursors("r1", "guard", {"orders": {"id": 7}})
        assert work.samples.cursors("r1", "watch") == {"orders": {"id": 5}}


def test_a_plan_that_was_shown_is_found_again(store: SqlStore) -> None:
    shown, target, base = plan(("s", StepKind.OBSERVE)), release("new"), release("old", commit="c0")
    store.put_plan(shown, target, None)
    assert store.plan(shown.digest) == (shown, target, None)
    store.put_plan(shown, target, base)
    assert store.plan(shown.digest[7:17]) == (shown, target, base)
    with pytest.raises(InvalidInput, match="abcdef"):
        store.plan("abcdef")
