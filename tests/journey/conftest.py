from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from lastgood.testing.caddy_server import caddy, free_port
from lastgood.testing.postgres_server import PostgresServer, postgres
from tests.journey.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with caddy(tmp_path) as server:
        yield World(tmp_path, server.admin, {"dev": free_port(), "prod": free_port()})
        stop_everything(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres(tmp_path_factory.mktemp("pg")) as started:
        yield started


@pytest.fixture
def shop(tmp_path: Path, server: PostgresServer) -> Iterator[World]:
    """A world with an empty database."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS orders WITH (FORCE)")
        connection.execute("CREATE DATABASE orders")
    with caddy(tmp_path) as proxy:
        ports = {"dev": free_port(), "prod": free_port()}
        yield World(tmp_path, proxy.admin, ports, server.url("orders"))
        stop_everything(tmp_path)


def stop_everything(root: Path) -> None:
    """End the runner and every generation of a world, by pid: what names its directory is ours."""
    for process in psutil.process_iter():
        try:
            mine = str(root) in " ".join(process.cmdline()) or process.environ().get(
                "LASTGOOD_STATE", ""
            ).startswith(str(root))
        except psutil.Error:
            continue
        if mine and process.pid != os.getpid():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> object:
    """The condition's first true answer; fails when it never comes."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError("the condition never came true")
