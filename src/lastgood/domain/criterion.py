"""What good means for a service: signals, criteria, and the verdict of a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class SignalKind(str, Enum):
    """``ratio``: good of total, judged by a sequential test. ``gauge``: one number against a limit."""

    RATIO = "ratio"
    GAUGE = "gauge"


@dataclass(frozen=True)
class Signal:
    """A number that can be asked for, and the driver that answers."""

    name: str
    kind: SignalKind
    driver: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Criterion:
    """A signal with its limit.

    For a ratio ``limit`` is the least share of good (0..1); for a gauge the greatest value allowed.
    ``window`` (seconds) is the spacing at which a ratio's test starts afresh, or how long a gauge
    must be over its limit. ``least_sample`` is the number of events (or readings) below which the
    verdict is inconclusive.
    """

    name: str
    signal: Signal
    limit: float
    window: float
    least_sample: int


@dataclass(frozen=True)
class Sample:
    """What one look at a signal returned.

    ``good`` and ``total`` count since ``since`` (ratio); ``value`` is the reading (gauge). A look that
    found no data has ``total`` 0 and ``value`` None: an empty answer, never a zero measurement.
    """

    criterion: str
    at: datetime
    since: datetime
    good: int = 0
    total: int = 0
    value: float | None = None
    error: str = ""


class Verdict(str, Enum):
    """``inconclusive`` is a verdict of its own: no evidence is not success."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Finding:
    """The verdict on one criterion, with the evidence it rests on.

    ``evidence`` is the e-value of the sequential test (ratio) or the seconds over the limit (gauge);
    ``measured`` is the observed rate or the last reading.
    """

    criterion: str
    verdict: Verdict
    limit: float
    measured: float | None = None
    good: int = 0
    total: int = 0
    least_sample: int = 0
    evidence: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class GateResult:
    """All criteria judged together: failed if one failed, passed only if all passed."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
