"""Real shops on a real PostgreSQL, on ports that the kernel chooses."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lastgood.testing.postgres_server import postgres
from tests.demo.shop_process import RunningShop, run_sql


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A URL without a database."""
    with postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server.url().rpartition("/")[0]


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    name = "shop_" + uuid.uuid4().hex[:8]
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
        yield f"{server_url}/{name}"
        connection.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def database(empty_database: str) -> str:
    run_sql(empty_database, "0001_init", "deploy")
    return empty_database


@pytest.fixture
def start(tmp_path: Path, database: str) -> Iterator[Callable[..., RunningShop]]:
    """``start(role="web", release=1, payment="")``; everything started is stopped at the end."""
    running: list[RunningShop] = []

    def begin(role: str = "web", release: int = 1, payment: str = "", **other: Any) -> RunningShop:
        directory = tmp_path / uuid.uuid4().hex[:6]
        directory.mkdir()
        running.append(RunningShop(directory, database, role, release, payment, **other))
        return running[-1]

    yield begin
    for shop in running:
        shop.stop(signal.SIGKILL)
