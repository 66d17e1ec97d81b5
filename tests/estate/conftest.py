"""Fixtures: an empty repository, and one with a small estate without a mistake."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.estate.repositories import CLEAN, Repository


@pytest.fixture
def empty(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "estate")


@pytest.fixture
def repository(empty: Repository) -> Repository:
    """A small estate without a mistake, committed."""
    empty.write(CLEAN)
    empty.commit()
    return empty


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
