"""Killed anywhere while others write, a revert goes on; what it put aside is neither lost nor doubled."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest
from pymysql.connections import Connection
from pymysql.constants import COMMAND

from lastgood.domain.errors import OutcomeUnknown, Unreachable
from lastgood.testing.conformance_migrates import script
from tests.drivers.mariadb.conftest import Lab
from tests.drivers.mariadb.test_mariadb_killed import Over, killed_at, own, ready

__all__ = ["own"]

MOVED = script(
    "0002_gifts",
    "ALTER TABLE orders ADD COLUMN gift integer, ADD COLUMN words varchar(40), ADD KEY by_gift (gift);"
    "CREATE TABLE gifts (id integer PRIMARY KEY, price decimal(8, 2) DEFAULT 1);",
    "SELECT gift, words FROM orders WHERE false;",
    "UPDATE orders SET note = words, words = NULL WHERE words IS NOT NULL;"
    "ALTER TABLE orders RENAME COLUMN gift TO present;"
    "ALTER TABLE orders DROP KEY by_gift, DROP COLUMN present; DROP TABLE gifts;"
    "UPDATE orders SET note = CONCAT(note, '!'); ALTER TABLE orders DROP COLUMN words;",
)


@contextmanager
def writing(lab: Lab, path: Path) -> Iterator[None]:
    """Another process writes a gift after the other until that can't be; ``path`` has what it was told is
    written.
    """
    path.write_text("")
    child = os.fork()
    if child == 0:
        try:
            session = lab.session()
            with path.open("a", buffering=1) as told, session.cursor() as cursor:
                for number in range(1, 100_000):
                    cursor.execute("INSERT INTO gifts (id) VALUES (%s)", (number,))
                    told.write(f"gift {number}\n")
                    cursor.execute("UPDATE orders SET gift = %s WHERE id = 1", (number,))
                    told.write(f"order {number}\n")
        except (pymysql.Error, OSError):
            pass
        finally:
            os._exit(0)
    try:
        while len(path.read_text().splitlines()) < 6:
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
        yield
    finally:
        os.waitpid(child, 0)


def acknowledged(path: Path, what: str) -> list[int]:
    lines = (line.split() for line in path.read_text().splitlines() if line.endswith(tuple("0123456789")))
    return [int(number) for kind, number in lines if kind == what]


def everything_is_there(lab: Lab, told: Path) -> None:
    """After the way back and there again. The last one may be written without its writer knowing."""
    gifts = [int(str(n)) for (n,) in lab.ask("SELECT id FROM gifts ORDER BY id")]
    known = acknowledged(told, "gift")
    assert gifts in (known, [*known, len(known) + 1])
    last = acknowledged(told, "order")[-1]
    last = acknowledged(told, "order")[-1]
    ((gift, words),) = lab.ask("SELECT gift, words FROM orders WHERE id = 1")
    assert gift in (last, last + 1)
    assert words is None
    assert lab.ask("SELECT gift, words, note FROM orders WHERE id = 2") == [(None, "for you", "for you!")]


def test_killed_anywhere_under_writes_nothing_is_lost_or_doubled(lab: Lab, tmp_path: Path) -> None:
    told = tmp_path / "told"
    killed = 0
    for point in range(5, 400, 83):
        start = ready(lab)
        lab.driver().deploy(MOVED, "key")
        lab.ask("UPDATE orders SET words = 'for you' WHERE id = 2")
        with writing(lab, told):
            try:
                killed_at(point, lambda: lab.driver(lock_deadline=20).revert(MOVED, "back"))
            except Over:
                break
            finally:
                lab.driver(lock_deadline=20).revert(MOVED, "back")
        killed += 1
        assert lab.driver().fingerprint() == start, f"killed at {point}"
        lab.driver().deploy(MOVED, "again")
        everything_is_there(lab, told)
    assert killed >= 3


def test_the_server_killed_anywhere_under_writes(own: Lab, tmp_path: Path) -> None:
    told = tmp_path / "told"
    killed = 0
    for point in range(30, 1000, 110):
        ready(own)
        own.driver().deploy(MOVED, "key")
        own.ask("UPDATE orders SET words = 'for you' WHERE id = 2")
        with writing(own, told), pytest.MonkeyPatch.context() as patched:
            kill_server_at(own, point, patched)
            try:
                own.driver(lock_deadline=20).revert(MOVED, "back")
            except (OutcomeUnknown, Unreachable):
                killed += 1
            else:
                break
        own.server.start()
        own.driver().revert(MOVED, "back")
        own.driver().deploy(MOVED, "again")
        everything_is_there(own, told)
    assert killed >= 2


def kill_server_at(lab: Lab, point: int, patched: pytest.MonkeyPatch) -> None:
    """When so many statements were sent to it."""
    execute = Connection._execute_command  # type: ignore[attr-defined]
    sent = 0
    counting_ = threading.Lock()

    def counting(self: object, command: int, text: object) -> None:
        nonlocal sent
        execute(self, command, text)
        with counting_:
            sent += command == COMMAND.COM_QUERY
            if sent == point:
                lab.server.kill()

    patched.setattr(Connection, "_execute_command", counting)
