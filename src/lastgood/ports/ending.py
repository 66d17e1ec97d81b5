"""Sessions that a driver ended because the settings of the database allow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class EndsIdle(Protocol):
    """Ends sessions that do nothing inside a transaction and hold a migration up: only those that have been
    idle for longer than ``end_idle_after`` of the settings, and none where that says nothing.
    """

    def sessions_ended(self) -> Sequence[str]:
        """Those ended since this was asked last, each as people would name it."""
