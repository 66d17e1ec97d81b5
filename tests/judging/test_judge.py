"""Samples in, verdict out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastgood.domain.criterion import Criterion, Finding, GateResult, Sample, Signal, SignalKind, Verdict
from lastgood.judging.judge import Gate, judge

SINCE = datetime(2024, 2, 29, 14, 2, tzinfo=UTC)
ORDERS = Criterion("orders", Signal("orders", SignalKind.RATIO, "sql"), 0.97, 10.0, 50)
LATENCY = Criterion("latency", Signal("latency", SignalKind.GAUGE, "http"), 500.0, 5.0, 3)


def at(seconds: float) -> datetime:
    return SINCE + timedelta(seconds=seconds)


def count(seconds: float, good: int, total: int, *, begun: float = 0.0, error: str = "") -> Sample:
    return Sample("orders", at(seconds), at(begun), good, total, error=error)


def reading(seconds: float, value: float | None, error: str = "") -> Sample:
    return Sample("latency", at(seconds), SINCE, value=value, error=error)


def verdict(
    *samples: Sample, seconds: float = 60.0, final: bool = True, criteria: tuple[Criterion, ...] = (ORDERS,)
) -> GateResult:
    return judge(criteria, samples, since=SINCE, now=at(seconds), duration=60.0, final=final)


def only(result: GateResult) -> Finding:
    (finding,) = result.findings
    assert finding.verdict is result.verdict
    return finding


STREAMS = st.lists(
    st.tuples(st.floats(0.01, 5.0), st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=40
)


def cumulative(steps: list[tuple[float, int, int]]) -> list[Sample]:
    seconds, good, total, samples = 0.0, 0, 0, []
    for pause, more, bad in steps:
        seconds, good, total = seconds + pause, good + more, total + more + bad
        samples.append(count(seconds, good, total))
    return samples


@given(steps=STREAMS, data=st.data())
def test_neither_order_nor_repetition_of_samples_matters(
    steps: list[tuple[float, int, int]], data: st.DataObject
) -> None:
    samples = cumulative(steps)
    again = data.draw(st.lists(st.sampled_from(samples), max_size=10))
    shuffled = data.draw(st.permutations([*samples, *again]))
    assert verdict(*shuffled, seconds=300) == verdict(*samples, seconds=300)


@given(steps=STREAMS, cut=st.integers(0, 40))
def test_a_watch_resumed_after_a_crash_says_the_same(steps: list[tuple[float, int, int]], cut: int) -> None:
    samples = cumulative(steps)
    gate = Gate((ORDERS,), since=SINCE, duration=60.0)
    for sample in samples[:cut]:
        gate.add([sample])
    gate.add(samples[max(cut - 3, 0) :])
    assert gate.result(now=at(300), final=True) == verdict(*samples, seconds=300)


@given(steps=STREAMS, where=st.integers(0, 40))
def test_a_failed_gate_stays_failed(steps: list[tuple[float, int, int]], where: int) -> None:
    samples = cumulative(steps)
    early = verdict(*samples[:where], final=False).verdict
    late = verdict(*samples, final=True).verdict
    assert late is Verdict.FAILED or early is not Verdict.FAILED


@given(steps=STREAMS)
def test_before_the_end_nothing_passes(steps: list[tuple[float, int, int]]) -> None:
    assert verdict(*cumulative(steps), final=False).verdict is not Verdict.PASSED


def test_enough_good_events_pass() -> None:
    finding = only(verdict(count(30, 300, 301), count(60, 600, 602)))
    assert finding.verdict is Verdict.PASSED
    assert (finding.good, finding.total) == (600, 602)
    assert finding.measured == pytest.approx(600 / 602)
    assert finding.reason == "600 of 602 events good"


def test_a_breach_fails_at_once_and_below_the_least_sample() -> None:
    finding = only(verdict(count(1, 6, 14), seconds=1, final=False))
    assert finding.verdict is Verdict.FAILED
    assert finding.total < finding.least_sample
    assert finding.evidence >= 50
    assert finding.reason.startswith("8 of 14 failed: 0.97 good is ruled out")


def test_one_failure_of_one_order_says_nothing() -> None:
    finding = only(verdict(count(1, 0, 1)))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason == "1 of at least 50 events"


def test_a_rate_below_the_limit_without_proof_is_inconclusive() -> None:
    finding = only(verdict(count(60, 96, 100)))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason == "0.96 good is below 0.97, but it may be chance"


def test_failures_at_the_very_end_keep_a_watch_from_passing() -> None:
    samples = [count(s, 100 * s, 100 * s) for s in range(1, 60)]
    finding = only(verdict(*samples, count(60, 5902, 5915)))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason.startswith("evidence of a breach is building")


@pytest.mark.parametrize("samples", [(), (count(5, 0, 0), count(60, 0, 0))])
def test_no_events_are_no_success(samples: tuple[Sample, ...]) -> None:
    assert only(verdict(*samples)).verdict is Verdict.INCONCLUSIVE


def test_no_criteria_are_no_success() -> None:
    finding = only(verdict(criteria=()))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason == "no criteria"


@pytest.mark.parametrize("final", [True, False])
def test_a_signal_that_only_errs_is_inconclusive_and_named(final: bool) -> None:
    finding = only(verdict(count(5, 0, 0, error="connection refused"), final=final))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason == "no answer: connection refused"


def test_a_signal_that_fell_silent_does_not_pass() -> None:
    answers = [count(10, 500, 500)]
    errors = [count(s, 0, 0, error="timed out") for s in range(11, 60)]
    finding = only(verdict(*answers, *errors))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason == "no answer for the last 49 s: timed out"
    assert only(verdict(*answers, *errors, count(59.5, 900, 900))).verdict is Verdict.PASSED


def test_what_was_counted_before_the_watch_is_not_judged() -> None:
    before = count(-1, 0, 500, begun=-100)
    assert only(verdict(before, count(60, 900, 1400, begun=-100))).verdict is Verdict.PASSED


def test_counting_begun_anew_goes_on() -> None:
    finding = only(verdict(count(20, 100, 100), count(40, 30, 30, begun=21), count(60, 80, 80, begun=21)))
    assert (finding.verdict, finding.total) == (Verdict.PASSED, 180)


def test_a_counter_that_goes_back_adds_nothing() -> None:
    finding = only(verdict(count(20, 100, 100), count(30, 0, 5), count(60, 150, 150)))
    assert (finding.verdict, finding.good, finding.total) == (Verdict.PASSED, 150, 150)


def test_a_signal_that_counts_more_good_than_total_is_called_wrong() -> None:
    finding = only(verdict(count(30, 300, 100), count(60, 700, 700)))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason == "counts more good than total (300 of 100)"


def gauge(*samples: Sample, seconds: float = 10.0, final: bool = True) -> Finding:
    return only(verdict(*samples, seconds=seconds, final=final, criteria=(LATENCY,)))


def test_a_gauge_over_its_limit_for_the_window_fails() -> None:
    finding = gauge(*(reading(s, 900.0) for s in range(6)), seconds=5, final=False)
    assert finding.verdict is Verdict.FAILED
    assert finding.evidence == 5.0
    assert finding.reason == "over 500 for 5 s"


def test_one_reading_within_the_limit_ends_the_stretch() -> None:
    readings = [reading(s, 100.0 if s == 4 else 900.0) for s in range(9)]
    assert gauge(*readings, seconds=8, final=False).verdict is Verdict.INCONCLUSIVE


def test_missing_readings_neither_end_a_stretch_nor_make_one() -> None:
    gap = [reading(0, 900.0), *(reading(s, None) for s in range(1, 6)), reading(6, 900.0)]
    assert gauge(*gap, final=False).verdict is Verdict.INCONCLUSIVE
    assert gauge(*gap, reading(7, 900.0), final=False).verdict is Verdict.FAILED


def test_a_gauge_within_its_limit_passes_at_the_end() -> None:
    finding = gauge(*(reading(s, 100.0) for s in range(11)))
    assert (finding.verdict, finding.measured) == (Verdict.PASSED, 100.0)


def test_a_gauge_just_gone_over_is_inconclusive_at_the_end() -> None:
    finding = gauge(*(reading(s, 100.0 if s < 9 else 900.0) for s in range(11)))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason == "over 500 at the end, for 1 s"


def test_too_few_late_readings_are_inconclusive() -> None:
    finding = gauge(*(reading(s, 100.0) for s in range(4)), *(reading(s, float("nan")) for s in range(4, 11)))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.reason == "0 of at least 3 readings in the last 5 s"


@given(values=st.lists(st.one_of(st.none(), st.floats(0, 1000)), max_size=30), data=st.data())
def test_order_and_repetition_do_not_matter_to_a_gauge(
    values: list[float | None], data: st.DataObject
) -> None:
    samples = [reading(s, v) for s, v in enumerate(values)]
    again = data.draw(st.lists(st.sampled_from(samples), max_size=5)) if samples else []
    assert gauge(*data.draw(st.permutations([*samples, *again])), seconds=30) == gauge(*samples, seconds=30)


def test_a_gate_is_as_bad_as_its_worst_criterion() -> None:
    good, fast = count(60, 900, 900), [reading(s, 100.0) for s in range(55, 61)]
    both = (ORDERS, LATENCY)
    assert verdict(good, *fast, criteria=both).verdict is Verdict.PASSED
    assert verdict(good, criteria=both).verdict is Verdict.INCONCLUSIVE
    assert verdict(count(60, 0, 900), criteria=both).verdict is Verdict.FAILED
    assert [f.criterion for f in verdict(criteria=both).findings] == ["orders", "latency"]
