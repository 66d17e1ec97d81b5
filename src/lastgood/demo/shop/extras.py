"""What this release can do beyond selling: nothing yet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .database import Connection

RELEASE = os.environ.get("SHOP_RELEASE", "1")
FORM = ""


def keep(connection: Connection, order: int, request: Mapping[str, Any]) -> None:
    """Called inside the transaction that records ``order``."""
