"""What was seen when a way back was proven while nothing was wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lastgood.domain.message import Message
from lastgood.domain.unit import UnitId


@dataclass(frozen=True)
class DatabaseProof:
    """The newest snapshot of one resource, loaded and compared.

    ``snapshot`` is empty when none is kept yet, which is no failure. ``proven_at`` is that of this proof,
    None when it failed: then ``error`` says why. ``seconds`` is the time that the proof took.
    """

    resource: str
    snapshot: str = ""
    size: int = 0
    taken_at: datetime | None = None
    proven_at: datetime | None = None
    seconds: float = 0.0
    error: Message | None = None


@dataclass(frozen=True)
class Proof:
    """Of the restore point ``point``, whose release is ``release``; ``current`` is where the unit is.

    ``missing`` and ``missing_current``: digests and secret versions that are not kept here, or damaged.
    """

    unit: UnitId
    point: str
    kind: str
    release: str
    current: str
    missing: tuple[str, ...]
    missing_current: tuple[str, ...]
    databases: tuple[DatabaseProof, ...]
    observed_at: datetime

    @property
    def good(self) -> bool:
        """Everything that was looked at is whole."""
        failed = any(database.error for database in self.databases)
        return not (self.missing or self.missing_current or failed)
