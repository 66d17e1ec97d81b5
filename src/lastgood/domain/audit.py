"""Who did what, when and why; intents and outcomes told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class Phase(str, Enum):
    """An intent never claims the act."""

    INTENT = "intent"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class AuditRecord:
    """One link: ``hash`` covers this record's content and ``previous``, the hash before it."""

    sequence: int
    at: datetime
    actor: str
    origin: str
    verb: str
    subject: str
    phase: Phase
    reason: str
    data: Mapping[str, Any] = field(default_factory=dict)
    previous: str = ""
    hash: str = ""
