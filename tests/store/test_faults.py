"""What is wrong with the file is said in plain words, and the file is left as it is."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, Conflict, DriverError, InvalidInput, LastgoodError
from lastgood.domain.plan import StepKind
from lastgood.domain.rollout import Mark
from lastgood.store.database import SqlStore, open_store
from tests.store.conftest import SetClock
from tests.store.disk import fill, small_disk
from tests.store.making import NOW, rollout
from tests.store.stranger import let_through, run_as_stranger


@pytest.fixture
def closed(store: SqlStore) -> Path:
    """The file of a store that holds something and is closed."""
    with store.write() as work:
        work.rollouts.add(rollout("r1", ("s", StepKind.WATCH)))
        for number in range(200):
            work.journal.append("r1", "s", Mark.NOTE, {"n": number, "filler": "x" * 200}, NOW)
    store.close()
    return store.file


def raw(file: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(statement)


def use(state: Path, clock: SetClock, *, read_only: bool = False) -> None:
    store = open_store(state, clock, read_only=read_only)
    try:
        with store.read() as work:
            work.rollouts.list()
            work.journal.entries("r1")
    finally:
        store.close()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("damage", [b"", b"this is not a database" * 1000, b"\0" * 8192])
def test_a_file_that_is_no_database_is_left_alone(
    closed: Path, clock: SetClock, damage: bytes, read_only: bool
) -> None:
    closed.write_bytes(damage)
    with pytest.raises(DriverError, match="damaged") as caught:
        use(closed.parent, clock, read_only=read_only)
    assert closed.read_bytes() == damage
    todo = str(caught.value.todo)
    for part in ("rollouts", "objects", "backup", f"mv {closed.parent}"):
        assert part in todo
    assert caught.value.cause is Cause.WRONG_PATH


def test_a_database_with_holes_is_called_damaged(closed: Path, clock: SetClock) -> None:
    content = bytearray(closed.read_bytes())
    content[4096 * 2 :] = b"\xa5" * (len(content) - 4096 * 2)
    closed.write_bytes(content)
    with pytest.raises(DriverError, match="damaged"):
        use(closed.parent, clock)
    assert closed.read_bytes() == bytes(content)


def test_a_row_that_cannot_be_read_is_called_damaged(closed: Path, clock: SetClock) -> None:
    raw(closed, "UPDATE rollouts SET document = '{\"id\": '")
    with pytest.raises(DriverError, match="damaged"):
        use(closed.parent, clock)


def test_a_missing_table_is_called_damaged(closed: Path, clock: SetClock) -> None:
    raw(closed, "DROP TABLE journal")
    with pytest.raises(DriverError, match="damaged"):
        use(closed.parent, clock)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_that_is_gone_is_not_made_anew(closed: Path, clock: SetClock, read_only: bool) -> None:
    closed.unlink()
    with pytest.raises(DriverError, match="gone") as caught:
        use(closed.parent, clock, read_only=read_only)
    assert "backup" in str(caught.value.todo)
    assert not closed.exists()


def test_reading_where_nothing_is_makes_nothing(state: Path, clock: SetClock) -> None:
    with pytest.raises(InvalidInput, match="no state"):
        open_store(state, clock, read_only=True)
    assert not state.exists()


def test_the_database_of_another_program_is_left_alone(closed: Path, clock: SetClock) -> None:
    closed.unlink()
    raw(closed, "CREATE TABLE theirs (x)")
    before = closed.read_bytes()
    with pytest.raises(InvalidInput, match="not one of lastgood's"):
        use(closed.parent, clock)
    assert closed.read_bytes() == before


def test_a_schema_of_the_future_is_not_touched(closed: Path, clock: SetClock) -> None:
    raw(closed, "UPDATE alembic_version SET version_num = '9999'")
    before = closed.read_bytes()
    with pytest.raises(Conflict, match="9999") as caught:
        use(closed.parent, clock)
    assert "upgrade" in str(caught.value.todo)
    assert closed.read_bytes() == before


def test_a_state_directory_that_is_a_file_is_said(tmp_path: Path, clock: SetClock) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DriverError) as caught:
            open_store(place, clock)
        assert caught.value.cause is Cause.WRONG_PATH
        assert caught.value.todo


STRANGER = """
from lastgood.store.database import open_store
expected = {c.value: c for c in Cause}[sys.argv[2]]
try:
    store = open_store(Path(sys.argv[1]), SystemClock(), read_only=len(sys.argv) > 3)
    with store.read() as work:
        work.rollouts.open()
except DriverError as error:
    assert error.cause is expected, (error, error.cause)
    assert error.todo
else:
    raise SystemExit("it was permitted")
"""


def test_a_directory_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    place = tmp_path / "closed"
    place.mkdir()
    let_through(tmp_path)
    place.chmod(0o555)
    run_as_stranger(STRANGER, str(place / "state"), "permission")
    run_as_stranger(STRANGER, str(place), "permission")


@pytest.mark.parametrize("mode", [0, 0o444])
def test_a_file_of_somebody_else_is_said(closed: Path, tmp_path: Path, mode: int) -> None:
    let_through(tmp_path)
    closed.parent.chmod(0o755)
    closed.chmod(mode)
    run_as_stranger(STRANGER, str(closed.parent), "permission")
    if mode == 0:
        run_as_stranger(STRANGER, str(closed.parent), "permission", "read_only")
    closed.chmod(0o600)


@contextmanager
def frozen(directory: Path) -> Iterator[None]:
    """The whole directory on a file system that nobody, root neither, can write."""
    subprocess.run(["mount", "--bind", str(directory), str(directory)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(directory)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_read_only_file_system_is_said_and_can_still_be_read(closed: Path, clock: SetClock) -> None:
    before = closed.read_bytes()
    with frozen(closed.parent):
        with pytest.raises(DriverError, match="read but not written") as caught:
            use(closed.parent, clock)
        assert caught.value.cause is Cause.PERMISSION
        assert "remount" in str(caught.value.todo)
        use(closed.parent, clock, read_only=True)
    use(closed.parent, clock)
    assert closed.read_bytes() == before


def test_a_file_system_that_turns_read_only_is_said(store: SqlStore, state: Path) -> None:
    with frozen(state):
        with pytest.raises(LastgoodError) as caught, store.write() as work:
            work.wishes.enqueue("r1")
        assert isinstance(caught.value, DriverError)
        assert caught.value.todo
    with store.write() as work:
        assert work.wishes.enqueued() == ()


def test_a_store_opened_for_reading_does_not_write(closed: Path, clock: SetClock) -> None:
    store = open_store(closed.parent, clock, read_only=True)
    with pytest.raises(DriverError, match="read but not written"), store.write():
        pass
    with store.read() as work:
        assert work.rollouts.get("r1").id == "r1"
    assert isinstance(store.changed(), int)
    store.close()


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, clock: SetClock) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = open_store(disk / "state", clock)
        with store.write() as work:
            work.rollouts.add(rollout("r1", ("s", StepKind.WATCH)))
        ballast = fill(disk)
        with pytest.raises(DriverError, match="disk full") as caught:
            _write_much(store)
        assert caught.value.cause is Cause.DEPENDENCY_DOWN
        assert str(disk) in str(caught.value)
        assert "df -h" in str(caught.value.todo)
        with store.read() as work:
            assert work.journal.entries("r1") == ()
        ballast.unlink()
        with store.write() as work:
            work.journal.append("r1", "s", Mark.INTENT, {}, NOW)
        store.close()
        use(disk / "state", clock)


def test_a_disk_full_from_the_start_leaves_no_half_database(tmp_path: Path, clock: SetClock) -> None:
    with small_disk(tmp_path / "disk") as disk:
        (disk / "state").mkdir()
        ballast = fill(disk)
        with pytest.raises(DriverError, match="disk full"):
            open_store(disk / "state", clock)
        assert list((disk / "state").iterdir()) == []
        ballast.unlink()
        open_store(disk / "state", clock).close()


def _write_much(store: SqlStore) -> None:
    with store.write() as work:
        for number in range(2000):
            work.journal.append("r1", "s", Mark.NOTE, {"n": number, "filler": "x" * 400}, NOW)


def test_messages_hold_no_statement_and_no_value(closed: Path, clock: SetClock) -> None:
    raw(closed, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Conflict) as caught:
        use(closed.parent, clock)
    assert "SELECT" not in f"{caught.value}{caught.value.todo}"
    assert os.fspath(closed) == caught.value.where
