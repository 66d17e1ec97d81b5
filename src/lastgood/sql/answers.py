"""What a signal asks for by a query, and what that answered, as a reading. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.ports.drivers import Reading
from lastgood.sql.statements import Statement, Token


def only_select(signal: Signal, split: Callable[[str, str], Sequence[Statement]]) -> str:
    """Its query. Raises InvalidInput when it is missing or no single SELECT; ``split`` is the driver's."""
    query = signal.settings.get("query")
    if not isinstance(query, str) or not query.strip():
        raise InvalidInput(
            N_("signal {name} has no query"),
            todo=N_("Write one SELECT into its setting 'query'."),
            name=signal.name,
        )
    statements = split(query, f"query of signal {signal.name}")
    if len(statements) != 1 or statements[0].words[:1] not in (("SELECT",), ("WITH",)):
        raise InvalidInput(
            N_("the query of signal {name} is not one SELECT"),
            todo=N_("Write exactly one SELECT; it runs in a read-only transaction."),
            name=signal.name,
        )
    return statements[0].text


def with_since(found: Sequence[Token], name: str, parameter: str, glued: frozenset[str] = frozenset()) -> str:
    """``:since`` outside strings, names and comments becomes ``parameter``; behind a token of a kind that is
    ``glued`` to it, the colon means something else. Raises InvalidInput for any other parameter.
    """
    parts: list[str] = []
    position = 0
    while position < len(found):
        token = found[position]
        following = found[position + 1] if position + 1 < len(found) else None
        free = not position or found[position - 1].kind not in glued
        if token.text == ":" and following and following.kind == "word" and free:
            if following.text != "since":
                raise InvalidInput(
                    N_("the query of signal {name} has the unknown parameter :{parameter}"),
                    todo=N_("The only one is :since, the time since which events count."),
                    name=name,
                    parameter=following.text,
                )
            parts.append(parameter)
            position += 2
            continue
        parts.append(token.text.replace("%", "%%"))
        position += 1
    return "".join(parts)


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
