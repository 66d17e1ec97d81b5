from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lastgood.store.database import open_store
from tests.actions.theatre import Clock, Theatre


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def theatre(tmp_path: Path, clock: Clock) -> Iterator[Theatre]:
    store = open_store(tmp_path / "state", clock)
    yield Theatre(store, clock, tmp_path)
    store.close()
