"""What a driver keeps of customers' values inside the database, and how it goes once it is old."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from lastgood.domain.expiry import Aside


@runtime_checkable
class KeepsAside(Protocol):
    """Puts values aside in the database itself, where a migration or its revert would lose them."""

    def kept_aside(self, before: datetime) -> Sequence[Aside]:
        """What lies there since ``before``, oldest first. Looks only."""

    def drop_aside(self, records: Sequence[Aside]) -> None:
        """Have them gone, all or none; one that is gone already is no error. What was undone by them can't be
        undone after that, and what was put aside does not come back.
        """
