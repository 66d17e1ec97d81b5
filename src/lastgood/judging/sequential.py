"""An always-valid test of "the share of good events is at least the limit".

A look every second is a test every second; a test made for one look, repeated, stops healthy
releases. The e-process here may be looked at as often as wanted and stopped at any look.

One event, one alternative p1 < p0, start s: multiply by p1/p0 when good, (1-p1)/(1-p0) when bad.
*Valid:* if the next event is good with probability p ≥ p0 (whatever came before), the expected factor
p·p1/p0 + (1-p)(1-p1)/(1-p0) falls in p and is p1 + (1-p1) = 1 at p = p0, hence ≤ 1: a supermartingale;
so is any average over starts and alternatives fixed beforehand, and P(it ever reaches 1/α) ≤ α (Ville).

Averaging over starts keeps a long healthy past from hiding a breach that begins late. All started
tests are multiplied by the same factor, so their weighted sum obeys the Shiryaev-Roberts recursion
``sum = (sum + weight of starts due) · factor``: one look costs O(alternatives), however many starts.

Sources: A. Wald, Sequential tests of statistical hypotheses (1945), the likelihood ratio and mixtures;
J. Ville, Étude critique de la notion de collectif (1939), the inequality; S. Howard, A. Ramdas,
J. McAuliffe, J. Sekhon, Time-uniform Chernoff bounds (2020); J. Shin, A. Ramdas, A. Rinaldo,
E-detectors (2023), the mixture over start times.
"""

from __future__ import annotations

import math

ALPHA = 0.02
"""The greatest share of healthy watches that may be called failed, over the whole watch."""

HIGHEST_LIMIT = 1 - 1e-4
"""A limit of 1 is judged as this: otherwise one stray failure would be infinite evidence."""

ODDS = (2.0, 4.0, 10.0, 30.0, 100.0)
"""The alternatives: the odds of failure at the limit, times these. They decide which sizes of breach are
found soonest, never how many healthy watches are stopped."""

STARTS_PER_WINDOW = 4
"""The test starts afresh this often per ``window``: the more starts, the sooner a late breach is met by
one that carries no healthy past, at the price of ln(starts) of evidence."""

_HIGHEST_LOG = 690.0


def _add_logs(a: float, b: float) -> float:
    """log(exp(a) + exp(b)) without overflow."""
    high, low = (a, b) if a >= b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


class SequentialTest:
    """The e-process of one good-of-total criterion over one watch.

    ``limit``: least share of good (0..1). ``window``, ``duration``: seconds; half of the weight is on
    the start of the watch, where most breaches begin, the rest is spread evenly over the later starts.
    A watch longer than ``duration`` stays valid: its starts are merely used up.
    """

    def __init__(self, limit: float, *, window: float, duration: float) -> None:
        p0 = min(limit, HIGHEST_LIMIT)
        self._factors = _factors(p0) if p0 > 0 else ()
        self._spacing = window / STARTS_PER_WINDOW if window > 0 else math.inf
        self._later = max(math.ceil(duration / self._spacing) - 1, 0) if duration > 0 else 0
        self._begun = 0
        self._first = 0.5 if self._later else 1.0
        self._sums = [math.log(self._first)] * len(self._factors)
        self._elapsed = 0.0
        self.log_e = 0.0
        self.log_peak = 0.0

    @property
    def e(self) -> float:
        """The e-value now."""
        return math.exp(min(self.log_e, _HIGHEST_LOG))

    @property
    def peak(self) -> float:
        """The greatest e-value so far: Ville's inequality bounds this one."""
        return math.exp(min(self.log_peak, _HIGHEST_LOG))

    def rejects(self, alpha: float = ALPHA) -> bool:
        """Whether the share of good was at any look shown to be below the limit."""
        return self.log_peak >= -math.log(alpha)

    def look(self, elapsed: float, good: int, bad: int) -> None:
        """Take in what was counted since the look before; ``elapsed`` seconds since the watch began.

        A negative ``bad`` takes back events that were counted too early.
        """
        if self._factors and (good or bad):
            self._begin_due()
            self._take_in(good, bad)
        self._elapsed = max(self._elapsed, elapsed)

    def _take_in(self, good: int, bad: int) -> None:
        for j, (if_good, if_bad) in enumerate(self._factors):
            self._sums[j] += good * if_good + bad * if_bad
        total = -math.inf
        for log_sum in self._sums:
            total = _add_logs(total, log_sum)
        waiting = (1 - self._first) * (self._later - self._begun) / self._later if self._later else 0.0
        self.log_e = _add_logs(total - math.log(len(self._sums)), math.log(waiting) if waiting else -math.inf)
        self.log_peak = max(self.log_peak, self.log_e)

    def _begin_due(self) -> None:
        """Begin the starts that lie at or before the last look: what was counted before is not theirs."""
        due = min(int(self._elapsed / self._spacing), self._later)
        if due <= self._begun:
            return
        weight = math.log((1 - self._first) * (due - self._begun) / self._later)
        self._sums = [_add_logs(log_sum, weight) for log_sum in self._sums]
        self._begun = due


def _factors(p0: float) -> tuple[tuple[float, float], ...]:
    """log(p1/p0) and log((1-p1)/(1-p0)) of each alternative."""
    odds = (1 - p0) / p0
    alternatives = [1 / (1 + odds * times) for times in ODDS]
    return tuple((math.log(p1 / p0), math.log((1 - p1) / (1 - p0))) for p1 in alternatives)
