"""What a signal's query answered, as a reading. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.ports.drivers import Reading


class WrongAnswer(Exception):
    """The query answered with something that is no reading."""


def reading(signal: Signal, cursor: Mapping[str, Any], rows: list[tuple[Any, ...]]) -> Reading:
    """Of at most two rows. Raises WrongAnswer."""
    if not rows and signal.kind is SignalKind.GAUGE:
        return Reading(cursor)
    if len(rows) != 1:
        raise WrongAnswer("the query answered with no row or with more than one")
    row = rows[0]
    if signal.kind is SignalKind.GAUGE:
        if len(row) != 1:
            raise WrongAnswer("the query of a gauge must answer with one number")
        return Reading(cursor, value=None if row[0] is None else float(_number(row[0])))
    if len(row) != 2:
        raise WrongAnswer("the query of a ratio must answer with two numbers: good, total")
    good, total = (_number(value) if value is not None else 0 for value in row)
    if good != int(good) or total != int(total) or not 0 <= good <= total:
        raise WrongAnswer(f"good and total must be counts with good ≤ total, not {good} of {total}")
    return Reading(cursor, good=int(good), total=int(total))


def _number(value: Any) -> int | float | Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise WrongAnswer(f"the query answered with {type(value).__name__}, not with a number")
    return value
