from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def busybox() -> bytes:
    """A tar with Debian's static busybox as /bin/busybox."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.add(Path("/bin/busybox"), "bin/busybox")
    return made.getvalue()
