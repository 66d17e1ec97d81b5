"""What opens when a gate fails, and the freeze that comes with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lastgood.domain.message import Message
from lastgood.domain.unit import UnitId


@dataclass(frozen=True)
class Incident:
    """``rollout`` broke its gate; ``rollback`` takes it back. ``evidence`` is a directory."""

    id: str
    unit: UnitId
    rollout: str
    reason: Message
    opened_at: datetime
    rollback: str = ""
    evidence: str = ""
    closed_at: datetime | None = None
    outcome: str = ""


@dataclass(frozen=True)
class Freeze:
    """No new changes in ``scope`` (a unit) until lifted; rollbacks pass."""

    id: str
    scope: str
    reason: Message
    by: str
    at: datetime
    incident: str = ""
    lifted_at: datetime | None = None
    lifted_by: str = ""
    lifted_reason: str = ""
