"""What was really there, and when it was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class Observation:
    """``fingerprint`` is equal exactly when what was observed is equal; ``facts`` are for people."""

    fingerprint: str
    at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)


class DriftKind(str, Enum):
    MISSING = "missing"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Drift:
    """One thing that differs from what was last released. ``detail`` never holds a secret."""

    subject: str
    kind: DriftKind
    detail: str = ""


@dataclass(frozen=True)
class EvidenceItem:
    """A file of evidence: a log, a response, metrics, observed state."""

    name: str
    content: bytes
