"""Killed at every statement: what was done is known by looking, and the migration goes on or goes back."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymysql.connections import Connection
from pymysql.constants import COMMAND

from lastgood.domain.errors import Cause, OutcomeUnknown, Rejected, Unreachable
from lastgood.drivers.mariadb.changes import MARK
from lastgood.ports.drivers import MigrationScript
from lastgood.testing.conformance_migrates import ORDERS, script
from lastgood.testing.mariadb_server import mariadb
from tests.drivers.mariadb.conftest import Lab, Tools

STEPS = """
CREATE TABLE gifts (id integer PRIMARY KEY, price decimal(8, 2) NOT NULL);
INSERT INTO gifts VALUES (1, 2.50), (2, 3.00);
ALTER TABLE orders ADD COLUMN gift integer, ADD KEY by_gift (gift);
UPDATE orders SET gift = 1;
ALTER TABLE orders ADD CONSTRAINT has_gift FOREIGN KEY (gift) REFERENCES gifts (id);
ALTER TABLE orders RENAME COLUMN note TO remark;
INSERT INTO gifts VALUES (3, 4.00);
"""
BACK = """
ALTER TABLE orders RENAME COLUMN remark TO note;
ALTER TABLE orders DROP FOREIGN KEY has_gift, DROP KEY by_gift, DROP COLUMN gift;
DROP TABLE gifts;
"""
GOOD = script("0002_gifts", STEPS, "SELECT gift, remark FROM orders WHERE false;", BACK)
OTHER = script("0003_other", "CREATE TABLE other (id integer);", "", "DROP TABLE other;")
BAD = script("0002_gifts", STEPS + "SELECT nothing FROM nowhere;", "", BACK)


class Over(Exception):
    """The migration came to its end before it was killed."""


def ready(lab: Lab) -> str:
    """A database with one migration and two orders; returns its fingerprint."""
    lab.ask(f"DROP DATABASE IF EXISTS {lab.name}", "")
    lab.ask(f"CREATE DATABASE {lab.name}", "")
    lab.driver().deploy(ORDERS, "key")
    lab.ask("INSERT INTO orders VALUES (1, 'a'), (2, 'b')")
    return lab.driver().fingerprint()


def state(lab: Lab) -> tuple[object, ...]:
    """What is to be seen of a deployed migration."""
    return (
        lab.driver().fingerprint(), lab.driver().applied(), lab.ask("SELECT * FROM orders"),
        lab.ask("SELECT * FROM gifts"), lab.ask("SELECT COUNT(*) FROM lastgood_progress"),
    )  # fmt: skip


def killed_at(point: int, act: Callable[[], object]) -> None:
    """Do ``act`` in a process that kills itself when it has sent its ``point``-th statement and not read the
    answer; raises Over when it came to its end before.
    """
    child = os.fork()
    if child == 0:
        sent = 0
        execute = Connection._execute_command  # type: ignore[attr-defined]

        def counting(self: Any, command: int, text: Any) -> None:
            nonlocal sent
            execute(self, command, text)
            sent += command == COMMAND.COM_QUERY
            if sent == point:
                os.kill(os.getpid(), signal.SIGKILL)

        Connection._execute_command = counting  # type: ignore[attr-defined]
        try:
            act()
        except Rejected:
            os._exit(3)
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) in (0, 3)
        raise Over


def test_killed_anywhere_a_deploy_goes_on_and_is_done_once(lab: Lab) -> None:
    ready(lab)
    lab.driver().deploy(GOOD, "key")
    wanted = state(lab)
    killed = 0
    for point in range(1, 400, 23):
        ready(lab)
        try:
            killed_at(point, lambda: lab.driver().deploy(GOOD, "key"))
        except Over:
            break
        killed += 1
        lab.driver().deploy(GOOD, "key")
        assert state(lab) == wanted, f"killed at {point}"
    assert killed >= 3


def test_killed_anywhere_a_deploy_can_be_taken_back_instead(lab: Lab) -> None:
    killed = 0
    for point in range(2, 400, 23):
        start = ready(lab)
        try:
            killed_at(point, lambda: lab.driver().deploy(GOOD, "key"))
        except Over:
            break
        killed += 1
        if killed % 2:
            lab.driver().revert(GOOD, "another-key")
        else:
            lab.driver().deploy(OTHER, "another-key")
            lab.driver().revert(OTHER, "another-key")
        assert lab.driver().fingerprint() == start, f"killed at {point}"
        assert lab.ask("SELECT * FROM orders ORDER BY id") == [(1, "a"), (2, "b")]
        assert lab.driver().applied() == ((ORDERS.name, ORDERS.digest),)
    assert killed >= 3


def test_killed_anywhere_a_failing_deploy_is_taken_back(lab: Lab) -> None:
    killed = 0
    for point in range(3, 600, 37):
        start = ready(lab)
        try:
            killed_at(point, lambda: lab.driver().deploy(BAD, "key"))
        except Over:
            break
        killed += 1
        with pytest.raises(Rejected) as caught:
            lab.driver().deploy(BAD, "key")
        assert caught.value.cause is Cause.SCRIPT_ERROR, f"killed at {point}: {caught.value}"
        assert "stands" not in str(caught.value)
        assert lab.driver().fingerprint() == start, f"killed at {point}"
        assert lab.ask("SELECT * FROM orders ORDER BY id") == [(1, "a"), (2, "b")]
        assert lab.ask("SELECT * FROM lastgood_progress") == []
    assert killed >= 3


def test_killed_anywhere_a_revert_goes_on(lab: Lab) -> None:
    killed = 0
    for point in range(1, 400, 31):
        start = ready(lab)
        lab.driver().deploy(GOOD, "key")
        try:
            killed_at(point, lambda: lab.driver().revert(GOOD, "back"))
        except Over:
            break
        killed += 1
        lab.driver().revert(GOOD, "back")
        assert lab.driver().fingerprint() == start, f"killed at {point}"
        assert lab.driver().applied() == ((ORDERS.name, ORDERS.digest),)
    assert killed >= 3


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Lab]:
    """A server that the test may kill."""
    directory = Path(tempfile.mkdtemp(prefix="lastgood-test-mariadb-"))
    try:
        with mariadb(directory) as server:
            yield Lab(server, "shop_" + uuid.uuid4().hex[:8], Tools(tmp_path))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_the_server_killed_anywhere(own: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(own)
    own.driver().deploy(GOOD, "key")
    wanted = state(own)
    killed = 0
    execute = Connection._execute_command  # type: ignore[attr-defined]
    for point in range(4, 400, 37):
        ready(own)
        sent = 0

        def counting(self: Any, command: int, text: Any, point: int = point) -> None:
            nonlocal sent
            execute(self, command, text)
            sent += command == COMMAND.COM_QUERY
            if sent == point:
                own.server.kill()

        with monkeypatch.context() as patched:
            patched.setattr(Connection, "_execute_command", counting)
            try:
                own.driver().deploy(GOOD, "key")
            except (OutcomeUnknown, Unreachable):
                killed += 1
            else:
                break
        own.server.start()
        own.driver().deploy(GOOD, "key")
        assert state(own) == wanted, f"killed at {point}"
    assert killed >= 3


def killed_halfway(own: Lab, migration: MigrationScript, whole: str, half: str) -> None:
    """Deploy it; of the statement that begins with ``whole`` the server does what ``half`` does, and dies."""
    execute = Connection._execute_command  # type: ignore[attr-defined]

    def halfway(self: Any, command: int, text: Any) -> None:
        met = f"{MARK}{whole}" in str(text)
        execute(self, command, half if met else text)
        if met:
            self._read_packet()
            own.server.kill()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Connection, "_execute_command", halfway)
        with pytest.raises((OutcomeUnknown, Unreachable)):
            own.driver().deploy(migration, "key")
    own.server.start()


def test_the_server_killed_among_several_that_are_dropped(own: Lab) -> None:
    """Those that are left are dropped by the next call."""
    ready(own)
    for name in "abc":
        own.ask(f"CREATE TABLE t{name} (id int)")
    drop = script("0002_drop", "DROP TABLE ta, tb, tc; DELETE FROM orders;", "", "SELECT 1;")
    killed_halfway(own, drop, "DROP TABLE ta", "DROP TABLE ta")
    assert own.ask("SHOW TABLES LIKE 't_'") == [("tb",), ("tc",)]
    own.driver().deploy(drop, "key")
    assert own.ask("SHOW TABLES LIKE 't_'") == []
    assert own.driver().applied()[-1][0] == "0002_drop"


def test_the_server_killed_between_the_old_table_and_the_new_one(own: Lab) -> None:
    """It drops the one before it makes the other, and killed in between it has none."""
    ready(own)
    text = "CREATE OR REPLACE TABLE orders (id bigint PRIMARY KEY)"
    replace = script("0002_replace", f"{text}; SELECT 1;", "", "SELECT 1;")
    killed_halfway(own, replace, text, "DROP TABLE orders")
    assert own.ask("SHOW TABLES LIKE 'orders'") == []
    own.driver().deploy(replace, "key")
    assert [row[:2] for row in own.ask("SHOW COLUMNS FROM orders")] == [("id", "bigint(20)")]
    assert own.driver().applied()[-1][0] == "0002_replace"
