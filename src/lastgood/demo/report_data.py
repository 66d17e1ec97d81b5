"""What the report shows, as plain data. Times are seconds since the customers began."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum


@dataclass(frozen=True)
class Words:
    """The same sentence in both languages."""

    en: str
    zh: str


class MarkKind(str, Enum):
    """The five moments of a way back."""

    DEPLOYED = "deployed"
    DETECTED = "detected"
    TRAFFIC_BACK = "traffic back"
    RESTORED = "restored"
    VERIFIED = "verified"


@dataclass(frozen=True)
class Mark:
    kind: MarkKind
    at: float


@dataclass(frozen=True)
class RatePoint:
    """Of ``total`` checkouts that ended in the window before ``at``, ``good`` became orders."""

    at: float
    good: int
    total: int

    @property
    def rate(self) -> float | None:
        """0..1; None when nobody tried."""
        return self.good / self.total if self.total else None


@dataclass(frozen=True)
class SiteCurve:
    """One unit's success rate over time, with what happened to it."""

    site: str
    unit: str
    points: tuple[RatePoint, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class StepRow:
    """One step of a rollout; ``way_back`` tells the rollback's from the deployment's."""

    unit: str
    title: Words
    start: float
    seconds: float
    way_back: bool = False
    failed: bool = False


@dataclass(frozen=True)
class CriterionRow:
    """One criterion as the gate judged it. ``measured`` and ``limit`` are shares (0..1)."""

    unit: str
    name: str
    limit: float
    measured: float | None
    good: int
    total: int
    failed: bool


@dataclass(frozen=True)
class LedgerRow:
    """One site's books; ``problems`` is what does not add up (empty: every order is there, once)."""

    site: str
    acknowledged: int
    in_database: int
    shipped_once: int
    problems: tuple[Words, ...] = ()


@dataclass(frozen=True)
class Figures:
    """``detected_after`` counts from the moment the traffic reached the bad release; ``restored_after``
    from detection until configuration, artifact and schema were back; ``without_registry`` from the wish
    to go back until the traffic was on the old image, with registry and engine cache gone;
    ``data_back_after`` from the wish to restore until the database was open again, ``closed`` of that it
    was not, and ``carried`` later writes came along. None: it did not happen.
    """

    detected_after: float | None
    restored_after: float | None
    requests: int
    failed: int
    failed_after_back: int
    without_registry: float | None = None
    data_back_after: float | None = None
    closed: float | None = None
    carried: int = 0


@dataclass(frozen=True)
class ReportData:
    """``limit`` is the least share of good checkouts (0..1); ``problems`` empty means all is proven."""

    started_at: datetime
    seconds: float
    good_commit: str
    bad_commit: str
    limit: float
    figures: Figures
    curves: tuple[SiteCurve, ...]
    steps: tuple[StepRow, ...]
    criteria: tuple[CriterionRow, ...]
    ledger: tuple[LedgerRow, ...]
    problems: tuple[Words, ...] = ()
    version: str = ""
    machine: str = ""
    in_containers: bool = False
    restored: bool = False
    way_back_note: Words = field(default_factory=lambda: Words("", ""))

    @property
    def proven(self) -> bool:
        return not self.problems and not any(row.problems for row in self.ledger)
