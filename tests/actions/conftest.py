from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.domain.digest import digest_bytes
from lastgood.store.database import open_store
from tests.actions.rehearsed import OLD, Stage
from tests.actions.restoring import Shop
from tests.actions.theatre import Clock, Theatre


@pytest.fixture(scope="session")
def empty_state() -> Iterator[Path]:
    """In memory: what a disk does to a store is tested elsewhere."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="lastgood-theatre-") as directory:
        open_store(Path(directory) / "state", Clock()).close()
        yield Path(directory) / "state"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def theatre(empty_state: Path, clock: Clock) -> Iterator[Theatre]:
    with tempfile.TemporaryDirectory(dir=empty_state.parent) as directory:
        state = Path(directory) / "state"
        shutil.copytree(empty_state, state)
        store = open_store(state, clock)
        yield Theatre(store, clock, Path(directory))
        store.close()


@pytest.fixture
def stage(theatre: Theatre) -> Stage:
    theatre.objects.put(OLD.encode())
    shop = Shop(theatre, journey=digest_bytes(OLD.encode()))
    return Stage(shop, shop.good)
