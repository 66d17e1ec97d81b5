"""Open sessions on a real nginx: counted where they are, ended where they have to, and nobody else's."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from lastgood.domain.errors import Cause, Rejected
from lastgood.drivers.nginx import sessions
from lastgood.drivers.nginx.control import Nginx
from lastgood.drivers.nginx.settings import Settings
from lastgood.ports.traffic import Destination, Leave


@pytest.fixture
def driver(lab, red, blue):
    """``red`` gets all requests, and nginx knows ``blue``."""
    driver = lab.build()
    driver.install()
    driver.route(blue)
    driver.route(red)
    return driver


def test_a_cut_ends_web_sockets_of_the_bad_generation_only(lab, driver, red, blue, eventually) -> None:
    other = lab.beside("erp-sync")
    other.build().install()
    # The same instance behind both units would be one address: then its sessions can't be told apart.
    other.build().route(blue)
    theirs, ours = other.hold("/socket"), lab.hold("/socket")
    assert ours.echo(b"x") == b"x"
    workers = lab.server.accepting()
    driver.route(blue, Leave.CUT)
    eventually(lambda: not ours.is_open())
    assert theirs.echo(b"y") == b"y"
    assert lab.server.accepting() == workers
    assert lab.ask() == (200, "blue")


def test_a_drain_leaves_web_sockets_alone_even_through_reloads(lab, driver, red, blue, eventually) -> None:
    held = lab.hold("/socket")
    driver.route(blue)
    driver.route(Destination("green", blue.addresses))
    assert held.echo(b"x") == b"x"
    assert driver.open_requests("red") == 1
    driver.close("red")
    eventually(lambda: not held.is_open())
    assert driver.open_requests("red") == 0


def test_what_ends_by_itself_in_time_is_not_cut(lab, red, blue) -> None:
    driver = lab.build(cut_after=10)
    driver.install()
    driver.route(blue)
    driver.route(red)
    answers: list[tuple[int, str]] = []
    slow = threading.Thread(target=lambda: answers.append(lab.ask("/?delay=1")))
    slow.start()
    while not driver.open_requests("red"):
        continue
    driver.route(blue, Leave.CUT)
    slow.join()
    assert answers == [(200, "red")]


def test_a_cut_that_was_interrupted_is_finished_by_repeating_it(lab, driver, blue, eventually) -> None:
    held = lab.hold()
    driver.route(blue)  # as a process that dies right after the flip
    assert held.is_open()
    lab.build().route(blue, Leave.CUT)
    eventually(lambda: not held.is_open())


def test_an_address_that_is_still_used_is_never_closed(lab, driver, red) -> None:
    held = lab.hold()
    driver.route(Destination("green", red.addresses), Leave.CUT)
    driver.close("red")
    assert held.is_open()
    assert (driver.open_requests("red"), driver.open_requests("green")) == (0, 1)


def test_idle_connections_are_closed_without_a_customer_noticing(lab, red, blue, eventually) -> None:
    driver = lab.build(upstream_options=["keepalive 8"])
    driver.install()
    driver.route(blue)
    driver.route(red)
    assert lab.ask() == (200, "red")
    eventually(lambda: driver.open_requests("red") >= 1)
    driver.route(blue, Leave.CUT)
    assert driver.open_requests("red") == 0
    driver.route(red)
    assert {lab.ask() for _ in range(8)} == {(200, "red")}


def test_a_generation_nobody_knows_has_nothing_open(lab, driver) -> None:
    assert driver.open_requests("unheard-of") == 0
    driver.close("unheard-of")
    stranger = lab.beside("erp-sync").build()
    assert stranger.open_requests("red") == 0
    stranger.close("red")


def test_a_kernel_that_cannot_end_connections_is_found_out_at_once(lab, monkeypatch) -> None:
    monkeypatch.setattr(sessions, "SOCK_DESTROY", 99)
    with pytest.raises(Rejected, match="can't be ended") as caught:
        lab.build().install()
    assert "'reload'" in str(caught.value.todo)
    assert not lab.file.exists()


@pytest.mark.parametrize("readable", [True, False])
def test_without_the_right_to_see_them_it_says_so(lab, driver, readable) -> None:
    if readable:
        lab.server.directory.parent.chmod(0o755)
    nginx = Nginx(Settings.of(lab.unit, lab.settings()))
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setuid(65534)
            sessions.Sessions(nginx).prove()
        except Rejected as error:
            os.write(write, f"{error.cause}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as told:
        assert told.read() == str(Cause.PERMISSION)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_tables_of_the_kernel_are_read_right(family, host) -> None:
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        inode = str(Path(f"/proc/self/fd/{client.fileno()}").readlink())[8:-1]
        found = dict(sessions._table(os.getpid()))[inode]
        assert found.local == client.getsockname()[:2]
        assert found.remote == server.getsockname()[:2]
        sessions._destroy(found)
        with pytest.raises(OSError, match="abort"):
            client.recv(1)
