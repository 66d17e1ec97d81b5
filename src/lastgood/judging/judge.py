"""A gate: all criteria of a service judged together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from lastgood.domain.criterion import Criterion, Finding, GateResult, Sample, SignalKind, Verdict
from lastgood.judging import reasons
from lastgood.judging.gauge import GaugeWatch
from lastgood.judging.ratio import RatioWatch
from lastgood.judging.reasons import reason


class Gate:
    """One watch: samples go in as they come, the verdict may be asked for after each of them.

    ``since``: when the watch began (zone-aware); ``duration``: its planned seconds. After a crash the
    same verdict comes from adding the stored samples again; a repeated sample adds nothing.
    """

    def __init__(self, criteria: Sequence[Criterion], *, since: datetime, duration: float) -> None:
        self._since = since
        self._watches: dict[str, RatioWatch | GaugeWatch] = {
            c.name: (
                RatioWatch(c, since=since, duration=duration)
                if c.signal.kind is SignalKind.RATIO
                else GaugeWatch(c, since=since)
            )
            for c in criteria
        }

    def add(self, samples: Iterable[Sample]) -> None:
        """Samples in any order within one call; those of unknown criteria are left out."""
        for sample in sorted(samples, key=_order):
            watch = self._watches.get(sample.criterion)
            if watch is not None:
                watch.add(sample)

    def result(self, *, now: datetime, final: bool) -> GateResult:
        """``final``: the watch is over, so that what can't be called failed is passed or inconclusive.

        Not final, the verdict is failed or inconclusive. A failed gate stays failed.
        """
        findings = tuple(watch.finding(now=now, final=final) for watch in self._watches.values())
        if not findings:
            nothing = reason(reasons.NO_CRITERIA)
            findings = (Finding(criterion="", verdict=Verdict.INCONCLUSIVE, limit=0.0, reason=nothing),)
        return GateResult(_together(findings), findings, since=self._since, until=now)


def judge(
    criteria: Sequence[Criterion],
    samples: Sequence[Sample],
    *,
    since: datetime,
    now: datetime,
    duration: float,
    final: bool,
) -> GateResult:
    """The verdict on a whole list of samples, in any order and with repetitions: see ``Gate``."""
    gate = Gate(criteria, since=since, duration=duration)
    gate.add(samples)
    return gate.result(now=now, final=final)


def _together(findings: Sequence[Finding]) -> Verdict:
    """Failed if one failed; passed only if all passed."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAILED in verdicts:
        return Verdict.FAILED
    return Verdict.PASSED if verdicts == {Verdict.PASSED} else Verdict.INCONCLUSIVE


def _order(sample: Sample) -> tuple[datetime, datetime, int, int, float, str]:
    value = float("-inf") if sample.value is None else sample.value
    return sample.at, sample.since, sample.total, sample.good, value, sample.error
