"""A tool that hangs, a host that is cut off without a word: nobody is kept waiting for them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lastgood.domain.errors import Rejected, Unreachable
from lastgood.testing.mariadb_server import find_binary
from tests.drivers.mariadb.conftest import Lab

SNAPSHOT, CONNECTION = "lastgood.drivers.mariadb.snapshot", "lastgood.drivers.mariadb.connection"


@pytest.fixture
def stopped(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Every snapshot stops writes, for half a second at most."""
    monkeypatch.setattr(f"{SNAPSHOT}.TRIES", 0)
    monkeypatch.setattr(f"{SNAPSHOT}.LONGEST", 0.5)
    lab.ask("CREATE TABLE orders (id int PRIMARY KEY)")
    return lab


def write(lab: Lab) -> None:
    """Whoever is kept from it for 10 s gets an error."""
    with contextlib.closing(lab.session(read_timeout=10)) as client, client.cursor() as cursor:
        cursor.execute("INSERT INTO orders SELECT COALESCE(MAX(id), 0) + 1 FROM orders")


def test_writes_are_not_stopped_for_a_dump_that_hangs(stopped: Lab, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "mariadb").symlink_to(find_binary("mariadb"))
    (tools / "mariadb-dump").write_text(
        "#!/bin/sh\necho '-- Connecting to localhost...' >&2\nexec sleep 60\n"
    )
    (tools / "mariadb-dump").chmod(0o755)
    driver = stopped.driver(binaries=str(tools))
    with pytest.raises(Rejected, match=r"did not begin its dump of .* within 0.5 seconds"):
        driver.snapshot("one")
    write(stopped)
    taken = stopped.driver().snapshot("one")
    assert stopped.driver().prove(taken).proven_at


def test_writes_go_on_when_nobody_lets_go_of_the_server(stopped: Lab) -> None:
    """As after the death of our host: the session is there, and silent."""
    with contextlib.ExitStack() as block:
        block.enter_context(stopped.driver()._snapshots._writes_stopped())
        silent = block.pop_all()
    write(stopped)
    silent.close()


def test_a_server_that_is_cut_off_is_noticed(lab: Lab) -> None:
    with lab.driver()._server.session() as connection:
        untyped: Any = connection
        options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
        found = [untyped._sock.getsockopt(socket.IPPROTO_TCP, option) for option in options]
        assert found == [15, 5, 4, 35_000]
        assert untyped._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port behind which nobody ever says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_server_that_never_greets_is_not_waited_for(
    lab: Lab, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{CONNECTION}.LOGIN_TIMEOUT", 0.2)
    with pytest.raises(Unreachable):
        lab.driver(url=f"mysql://root@127.0.0.1:{silent}/{lab.name}").applied()


def test_an_answer_may_take_longer_than_the_log_in(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CONNECTION}.LOGIN_TIMEOUT", 0.2)
    with lab.driver()._server.session() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(0.5)")
        assert cursor.fetchone() == (0,)
