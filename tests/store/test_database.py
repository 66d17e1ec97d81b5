"""Transactions of several threads and processes, and what a death in the middle leaves."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, Conflict, DriverError, GateFailed
from lastgood.domain.plan import StepKind
from lastgood.domain.rollout import Mark
from lastgood.store.database import SqlStore, open_store
from tests.store.conftest import SetClock
from tests.store.making import NOW, UNIT, release, rollout

PRELUDE = """
import os, sys
from pathlib import Path
from lastgood.clock import SystemClock
from lastgood.domain.errors import Conflict
from lastgood.domain.rollout import Mark
from lastgood.store.database import open_store
clock = SystemClock()
"""
APPEND = """
store = open_store(Path(sys.argv[1]), clock)
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    with store.write() as work:
        work.journal.append("r1", sys.argv[2], Mark.NOTE, {"n": number}, clock.now())
        last = work.audit.list(limit=1)
        work.audit.append(actor=sys.argv[2], origin="", verb="v", subject="", phase=Phase.INTENT, reason="",
                          data={"seen": last[0].sequence if last else 0}, at=clock.now())
"""
DIE = """
store = open_store(Path(sys.argv[1]), clock)
with store.write() as work:
    for number in range(3000):  # more than one page, so that some of it is in the log file already
        work.journal.append("r1", "s", Mark.NOTE, {"n": number, "filler": "x" * 200}, clock.now())
    work.locks.take(["unit:a"], "r1")
    os.kill(os.getpid(), 9)
"""
TAKE = """
store = open_store(Path(sys.argv[1]), clock)
print("ready", flush=True)
sys.stdin.readline()
won = 0
for number in range(40):
    try:
        with store.write() as work:
            work.locks.take([f"unit:{number}", "resource:db" + str(number)], sys.argv[2])
        won += 1
    except Conflict as error:
        assert "rollout" in str(error)
print(won, flush=True)
"""
CREATE = """
print("ready", flush=True)
sys.stdin.readline()
store = open_store(Path(sys.argv[1]), clock)
with store.write() as work:
    work.wishes.enqueue(sys.argv[2])
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    head = PRELUDE + "from lastgood.domain.audit import Phase\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def together(*children: subprocess.Popen[str]) -> list[str]:
    """Starts them at the same moment; what each printed after that. Fails when one failed."""
    with ExitStack() as stack:
        for process in children:
            stack.enter_context(process)
            stack.callback(process.kill)
        for process in children:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in children:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=60)[0] for process in children]
        assert [process.returncode for process in children] == [0] * len(children)
    return printed


@pytest.fixture
def running(store: SqlStore) -> SqlStore:
    with store.write() as work:
        work.rollouts.add(rollout("r1", ("s", StepKind.WATCH)))
    return store


def test_the_file_is_ours_alone_and_durable(store: SqlStore, state: Path) -> None:
    assert state.stat().st_mode & 0o777 == 0o700
    with store.write() as work:
        work.wishes.enqueue("r1")
        pragma = work._connection.exec_driver_sql
        assert pragma("PRAGMA journal_mode").scalar() == "wal"
        assert pragma("PRAGMA synchronous").scalar() == 2
        assert pragma("PRAGMA foreign_keys").scalar() == 1
        for file in state.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600, file


def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path, clock: SetClock) -> None:
    (tmp_path / "there").mkdir(mode=0o750)
    open_store(tmp_path / "there", clock).close()
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o750


def test_a_path_may_hold_any_character(tmp_path: Path, clock: SetClock) -> None:
    for name in ("with space", "q?x=1#y", "100%25", "店铺"):
        opened = open_store(tmp_path / name, clock)
        with opened.write() as work:
            work.wishes.enqueue("r1")
        opened.close()
        assert (tmp_path / name / "lastgood.db").exists()


def test_an_exception_leaves_nothing_behind(store: SqlStore) -> None:
    def stopped() -> None:
        with store.write() as work:
            work.releases.put(release())
            work.rollouts.add(rollout("r1", ("s", StepKind.WATCH)))
            work.journal.append("r1", "s", Mark.INTENT, {}, NOW)
            work.locks.take(["unit:a"], "r1")
            raise GateFailed("no")

    with pytest.raises(GateFailed):
        stopped()
    with store.read() as work:
        assert work.rollouts.list() == ()
        assert work.journal.entries("r1") == ()
        assert work.locks.holder("unit:a") == ""


def test_a_view_stays_as_it_was_while_others_write(store: SqlStore) -> None:
    with store.read() as view:
        assert view.wishes.enqueued() == ()
        with store.write() as work:
            work.wishes.enqueue("r1")
        assert view.wishes.enqueued() == ()
    with store.read() as view:
        assert view.wishes.enqueued() == ("r1",)


def test_a_view_cannot_write(store: SqlStore) -> None:
    with pytest.raises(DriverError, match="read but not written"), store.read() as work:
        work.wishes.enqueue("r1")


def test_a_write_inside_a_write_is_a_mistake_that_shows_at_once(store: SqlStore) -> None:
    with store.write(), pytest.raises(RuntimeError, match="inside"), store.write():
        pass
    with store.write() as work:
        work.wishes.enqueue("r1")


def test_two_processes_writing_at_once_lose_nothing(running: SqlStore, state: Path) -> None:
    together(child(APPEND, state, "a", 100), child(APPEND, state, "b", 100))
    with running.read() as work:
        entries = work.journal.entries("r1")
        for name in ("a", "b"):
            assert [e.data["n"] for e in entries if e.step == name] == list(range(100))
        records = work.audit.list(limit=1000)
        assert len(records) == 200
        # Each saw everything that was written before it.
        assert all(record.data["seen"] == record.sequence - 1 for record in records)
        assert work.audit.first_broken() is None


def test_many_threads_share_one_store(running: SqlStore) -> None:
    failures: list[BaseException] = []

    def work_hard(name: str) -> None:
        try:
            for number in range(20):
                with running.write() as work:
                    work.journal.append("r1", name, Mark.NOTE, {"n": number}, NOW)
                with running.read() as view:
                    assert view.journal.entries("r1")[-1].sequence > number
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work_hard, args=(f"t{n}",)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with running.read() as view:
        sequences = [entry.sequence for entry in view.journal.entries("r1")]
    assert len(sequences) == 240
    assert sequences == sorted(set(sequences))


def test_a_kill_in_the_middle_leaves_nothing(running: SqlStore, state: Path) -> None:
    with child(DIE, state) as process:
        assert process.wait(timeout=60) == -9
    with running.write() as work:
        assert work.journal.entries("r1") == ()
        assert work.locks.holder("unit:a") == ""
        work.locks.take(["unit:a"], "r2")
    fresh = open_store(state, SetClock())
    with fresh.read() as work:
        assert work.locks.holder("unit:a") == "r2"
    fresh.close()


def test_a_lock_has_one_holder_whoever_asks_at_once(store: SqlStore, state: Path) -> None:
    printed = together(*(child(TAKE, state, f"r{n}") for n in range(3)))
    assert sum(int(won) for won in printed) == 40
    with store.read() as work:
        for number in range(40):
            assert work.locks.holder(f"unit:{number}") == work.locks.holder(f"resource:db{number}") != ""


def test_processes_that_come_first_at_once_get_one_database(state: Path, clock: SetClock) -> None:
    together(*(child(CREATE, state, f"r{n}") for n in range(4)))
    opened = open_store(state, clock)
    with opened.read() as work:
        assert sorted(work.wishes.enqueued()) == ["r0", "r1", "r2", "r3"]
    opened.close()
    assert {f.name for f in state.iterdir()} == {"lastgood.db", "lastgood.db.created"}


def test_waiting_too_long_for_a_writer_is_a_conflict(store: SqlStore, state: Path, clock: SetClock) -> None:
    impatient = open_store(state, clock, wait=0.05)
    with store.write() as work:
        work.wishes.enqueue("r1")
        with pytest.raises(Conflict, match="busy") as caught, impatient.write():
            pass
        with impatient.read() as view:  # readers never wait
            assert view.wishes.enqueued() == ()
    assert caught.value.cause is Cause.TABLE_LOCK
    assert "fuser" in str(caught.value.todo)
    with impatient.write() as work:
        work.wishes.enqueue("r2")
    impatient.close()


def test_changed_moves_with_every_commit_and_with_nothing_else(
    running: SqlStore, state: Path, clock: SetClock
) -> None:
    other = open_store(state, clock)
    seen = running.changed()
    with running.read() as view:
        view.rollouts.list()
    assert running.changed() == seen
    for writer in (running, other):
        with writer.write() as work:
            work.journal.append("r1", "s", Mark.NOTE, {}, NOW)
            assert running.changed() == seen  # not before it is committed
        assert running.changed() != seen
        seen = running.changed()
    with pytest.raises(GateFailed):
        _fail_in(other)
    assert running.changed() == seen
    together(child(APPEND, state, "a", 1))
    assert running.changed() != seen
    other.close()


def _fail_in(store: SqlStore) -> None:
    with store.write() as work:
        work.wishes.enqueue("r9")
        raise GateFailed("no")


def test_what_was_kept_is_there_after_a_restart(running: SqlStore, state: Path, clock: SetClock) -> None:
    with running.write() as work:
        work.releases.put(release())
        work.releases.set_current(UNIT, release().digest, NOW)
    running.close()
    for read_only in (False, True):
        again = open_store(state, clock, read_only=read_only)
        with again.read() as work:
            assert work.releases.units() == (UNIT,)
            assert work.rollouts.get("r1") == rollout("r1", ("s", StepKind.WATCH))
        again.close()
