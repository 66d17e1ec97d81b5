"""One good-of-total criterion over one watch."""

from __future__ import annotations

from datetime import datetime

from lastgood.domain.criterion import Criterion, Finding, Sample, Verdict
from lastgood.judging import reasons
from lastgood.judging.reasons import reason
from lastgood.judging.sequential import ALPHA, SequentialTest

SUSPICION = 5.0
"""A watch doesn't end as passed while the evidence of a breach stands this high."""


class RatioWatch:
    """Takes cumulative samples in the order of time; every one costs the same, however long the watch.

    Counters only grow: a sample that goes back in time or in count adds nothing (a repeated or
    delayed answer). A later ``since`` means that counting began anew, from zero.
    """

    def __init__(self, criterion: Criterion, *, since: datetime, duration: float) -> None:
        self._criterion = criterion
        self._since = since
        self._test = SequentialTest(criterion.limit, window=criterion.window, duration=duration)
        self._last: Sample | None = None
        self._good = 0
        self._total = 0
        self._error = ""
        self._silent_since: datetime | None = None
        self._miscounted: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Samples at or before the beginning of the watch only say where its counting starts."""
        if sample.error:
            self._error = sample.error
            self._silent_since = self._silent_since or sample.at
            return
        last = self._last
        if last is not None and (sample.at < last.at or sample.since < last.since):
            return
        base_good, base_total = (last.good, last.total) if last and last.since == sample.since else (0, 0)
        self._silent_since = None
        if sample.good > sample.total:
            self._miscounted = sample
            return
        if sample.total < base_total or sample.good < base_good:
            return
        self._last = sample
        if sample.at <= self._since:
            return
        good, total = sample.good - base_good, sample.total - base_total
        self._good += good
        self._total += total
        self._test.look((sample.at - self._since).total_seconds(), good, total - good)

    def finding(self, *, now: datetime, final: bool) -> Finding:
        verdict, why = self._judge(now, final)
        return Finding(
            criterion=self._criterion.name,
            verdict=verdict,
            limit=self._criterion.limit,
            measured=self._rate,
            good=self._good,
            total=self._total,
            least_sample=self._criterion.least_sample,
            evidence=self._test.peak,
            reason=why,
        )

    @property
    def _rate(self) -> float | None:
        return self._good / self._total if self._total else None

    def _judge(self, now: datetime, final: bool) -> tuple[Verdict, str]:
        if self._test.rejects():
            return Verdict.FAILED, reason(
                reasons.RULED_OUT,
                bad=self._total - self._good,
                total=self._total,
                limit=self._criterion.limit,
                **_evidence(self._test.peak),
            )
        if self._miscounted is not None:
            wrong = self._miscounted
            return Verdict.INCONCLUSIVE, reason(reasons.MISCOUNTED, good=wrong.good, total=wrong.total)
        rate = self._rate
        if rate is None and self._error:
            return Verdict.INCONCLUSIVE, reason(reasons.NO_ANSWER, error=self._error)
        if not final:
            return Verdict.INCONCLUSIVE, reason(reasons.WATCHING)
        if rate is None:
            return Verdict.INCONCLUSIVE, reason(reasons.NO_DATA)
        return self._judge_whole(now, rate)

    def _judge_whole(self, now: datetime, rate: float) -> tuple[Verdict, str]:
        criterion = self._criterion
        silent = (now - self._silent_since).total_seconds() if self._silent_since else 0.0
        if silent and silent >= criterion.window:
            return Verdict.INCONCLUSIVE, reason(reasons.SILENT, seconds=round(silent), error=self._error)
        if self._total < criterion.least_sample:
            return Verdict.INCONCLUSIVE, reason(
                reasons.TOO_FEW_EVENTS, total=self._total, least=criterion.least_sample
            )
        if rate < criterion.limit:
            return Verdict.INCONCLUSIVE, reason(reasons.BELOW, rate=rate, limit=criterion.limit)
        if self._test.e >= SUSPICION:
            return Verdict.INCONCLUSIVE, reason(reasons.BUILDING, **_evidence(self._test.e))
        return Verdict.PASSED, reason(reasons.GOOD_ENOUGH, good=self._good, total=self._total)


def _evidence(e: float) -> dict[str, str]:
    return {"evidence": f"{e:.3g}", "needed": f"{1 / ALPHA:.3g}"}
