"""Signals from HAProxy's own counters. They start at zero after every reload and restart. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lastgood.drivers.haproxy.record import Record
from lastgood.drivers.haproxy.servers import BACKEND, View
from lastgood.drivers.haproxy.settings import SignalSettings

CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
UNCONNECTED = ("econ", "wredis")
"""Requests that never reached the server; those that another one got instead among them."""
UNANSWERED = "eresp"
TORN = "srv_abrt"
"""Responses that broke off: among ``eresp``, and among their class too."""


@dataclass(frozen=True)
class Line:
    """The counters of one server, or of the whole backend. ``rtime`` is the average in ms of its last
    requests, at most 1,024.
    """

    owner: str
    counts: Mapping[str, int]
    rtime: float


def lines(view: View, record: Record, settings: SignalSettings) -> dict[str, Line]:
    """By name: the backend alone, or, with a generation asked for, every server with whom it belongs to."""
    if not settings.generation:
        # What HAProxy answers itself when no server does is among the backend's 5xx already.
        return {BACKEND: Line("", _counts(view.backend, (TORN,)), _rtime(view.backend))}
    asked = (*UNCONNECTED, UNANSWERED, TORN)
    return {
        name: Line(record.owner(server)[0], _counts(server.row, asked), _rtime(server.row))
        for name, server in view.servers.items()
    }


@dataclass(frozen=True)
class Look:
    """One look at one HAProxy. ``good`` and ``total`` are new since the last; ``rtime`` is weighted."""

    mark: Mapping[str, Any]
    good: int = 0
    total: int = 0
    rtime: float = 0.0


def look(
    mark: Mapping[str, Any] | None, process: str, now: Mapping[str, Line], settings: SignalSettings
) -> Look:
    """``mark`` is that of the last look, None when counting begins.

    A server that had been somebody else's begins to count now: what it counted before was theirs.
    """
    after = {"process": process, "lines": {n: [line.owner, dict(line.counts)] for n, line in now.items()}}
    if mark is None:
        return Look(after)
    good = total = 0
    weighed = 0.0
    for name, line in now.items():
        if line.owner != settings.generation:
            continue
        owner, last = mark["lines"].get(name, ["", {}])
        if owner not in ("", settings.generation):
            continue
        added = _since(line.counts, last, mark["process"] == process)
        torn = added[TORN]
        lost = sum(added.get(key, 0) for key in UNCONNECTED) + max(0, added.get(UNANSWERED, 0) - torn)
        requests = lost + sum(added[name] for name in CLASSES)
        total += requests
        good += max(
            0, requests - lost - torn - sum(added[name] for name in CLASSES if name in settings.codes)
        )
        weighed += line.rtime * requests
    return Look(after, good, total, weighed / total if total else 0.0)


def advance(cursor: Mapping[str, Any], looks: Mapping[str, Look]) -> dict[str, Any]:
    """The cursor with what is new in ``looks`` (by socket); HAProxies that don't answer keep their mark."""
    return {
        "marks": {**cursor.get("marks", {}), **{socket: seen.mark for socket, seen in looks.items()}},
        "good": int(cursor.get("good", 0)) + sum(seen.good for seen in looks.values()),
        "total": int(cursor.get("total", 0)) + sum(seen.total for seen in looks.values()),
    }


def average(looks: Sequence[Look]) -> float | None:
    """Milliseconds, of those with new requests; None when there were none."""
    total = sum(seen.total for seen in looks)
    return sum(seen.rtime * seen.total for seen in looks) / total if total else None


def _since(now: Mapping[str, int], last: Mapping[str, int], same_process: bool) -> dict[str, int]:
    """What was added; from zero when the counters began again in between."""
    began_again = not same_process or any(now.get(key, 0) < value for key, value in last.items())
    return {key: value - (0 if began_again else last.get(key, 0)) for key, value in now.items()}


def _counts(row: Mapping[str, str], more: Sequence[str]) -> dict[str, int]:
    classes = {name: _number(row, f"hrsp_{name}") for name in CLASSES}
    return {**classes, **{name: _number(row, name) for name in more}}


def _rtime(row: Mapping[str, str]) -> float:
    return float(_number(row, "rtime"))


def _number(row: Mapping[str, str], key: str) -> int:
    text = row.get(key) or ""
    return int(text) if text.isdigit() else 0
