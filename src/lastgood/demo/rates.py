"""The success rate of checkouts over time, from what the customers wrote down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lastgood.demo.ledger import failed
from lastgood.demo.report_data import RatePoint
from lastgood.demo.shoppers import Seen


def success_rates(
    seen: Iterable[Seen], site: str, begin: float, end: float, *, step: float = 0.5, window: float = 2.0
) -> tuple[RatePoint, ...]:
    """One point each ``step`` seconds from ``begin`` to ``end`` (seconds since 1970).

    Each looks back ``window`` seconds over the checkouts that ended in it; ``at`` counts from ``begin``.
    """
    ended = sorted((s.at + s.seconds, not failed(s)) for s in seen if s.site == site and s.kind == "checkout")
    points: list[RatePoint] = []
    first = last = 0
    moment = begin + step
    while moment <= end + step / 2:
        while last < len(ended) and ended[last][0] <= moment:
            last += 1
        while first < last and ended[first][0] <= moment - window:
            first += 1
        inside = ended[first:last]
        points.append(RatePoint(round(moment - begin, 3), sum(good for _, good in inside), len(inside)))
        moment += step
    return tuple(points)


def lowest(points: Sequence[RatePoint]) -> float | None:
    """The worst rate, None when nobody tried."""
    known = [point.rate for point in points if point.rate is not None]
    return min(known) if known else None
