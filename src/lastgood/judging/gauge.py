"""One number against a limit, over one watch."""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta

from lastgood.domain.criterion import Criterion, Finding, Sample, Verdict
from lastgood.judging import reasons
from lastgood.judging.reasons import reason


class GaugeWatch:
    """Fails when every reading over a stretch of at least ``window`` seconds is over the limit.

    A look without a reading neither ends a stretch nor counts towards ``least_sample``: missing data
    can't acquit, and alone it can't convict.
    """

    def __init__(self, criterion: Criterion, *, since: datetime) -> None:
        self._criterion = criterion
        self._since = since
        self._window = timedelta(seconds=criterion.window)
        self._recent: deque[datetime] = deque()
        self._last: Sample | None = None
        self._over_since: datetime | None = None
        self._over = 0
        self._longest = 0.0
        self._failed = False
        self._error = ""

    def add(self, sample: Sample) -> None:
        """A reading at or before the last one (repeated, delayed) or before the watch is left out."""
        if sample.error or sample.value is None or math.isnan(sample.value):
            self._error = sample.error or self._error
            return
        if sample.at < self._since or (self._last is not None and sample.at <= self._last.at):
            return
        self._last = sample
        self._recent.append(sample.at)
        while self._recent[0] < sample.at - self._window:
            self._recent.popleft()
        if sample.value <= self._criterion.limit:
            self._over_since, self._over = None, 0
            return
        self._over_since = self._over_since or sample.at
        self._over += 1
        self._longest = max(self._longest, self._seconds_over())
        enough = self._over >= max(self._criterion.least_sample, 1)
        self._failed = self._failed or (enough and self._seconds_over() >= self._criterion.window)

    def finding(self, *, now: datetime, final: bool) -> Finding:
        verdict, why, total = self._judge(now, final)
        return Finding(
            criterion=self._criterion.name,
            verdict=verdict,
            limit=self._criterion.limit,
            measured=self._last.value if self._last else None,
            total=total,
            least_sample=self._criterion.least_sample,
            evidence=self._longest,
            reason=why,
        )

    def _seconds_over(self) -> float:
        if self._over_since is None or self._last is None:
            return 0.0
        return (self._last.at - self._over_since).total_seconds()

    def _judge(self, now: datetime, final: bool) -> tuple[Verdict, str, int]:
        """Verdict, why, and the readings in the last window."""
        criterion = self._criterion
        total = sum(at >= now - self._window for at in self._recent)
        if self._failed:
            why = reason(reasons.OVER, limit=criterion.limit, seconds=self._longest)
            return Verdict.FAILED, why, total
        if self._last is None and self._error:
            return Verdict.INCONCLUSIVE, reason(reasons.NO_ANSWER, error=self._error), total
        if not final:
            return Verdict.INCONCLUSIVE, reason(reasons.WATCHING), total
        if self._last is None:
            return Verdict.INCONCLUSIVE, reason(reasons.NO_DATA), total
        if total < max(criterion.least_sample, 1):
            why = reason(
                reasons.TOO_FEW_READINGS,
                total=total,
                least=max(criterion.least_sample, 1),
                seconds=criterion.window,
            )
            return Verdict.INCONCLUSIVE, why, total
        if self._over:
            seconds = self._seconds_over()
            return (
                Verdict.INCONCLUSIVE,
                reason(reasons.OVER_AT_END, limit=criterion.limit, seconds=seconds),
                total,
            )
        why = reason(reasons.WITHIN, value=self._last.value, limit=criterion.limit)
        return Verdict.PASSED, why, total
