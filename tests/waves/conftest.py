from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waves.company import Company


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path)
    yield made
    made.store.close()
