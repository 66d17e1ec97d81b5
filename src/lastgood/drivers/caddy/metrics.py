"""Signals from Caddy's own counters. They start at zero after every reload and restart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lastgood.drivers.caddy.config import VIEW_HANDLER
from lastgood.drivers.caddy.settings import SignalSettings

LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
COUNT = "caddy_http_request_duration_seconds_count"
BUCKET = "caddy_http_request_duration_seconds_bucket"
EPOCH = ("process_start_time_seconds", "caddy_config_last_reload_success_timestamp_seconds")


@dataclass(frozen=True)
class Counters:
    """One look: requests by status, and by upper bound (seconds) of their duration, cumulative.

    ``epoch`` names the run of the counters: process start and last reload.
    """

    epoch: str
    codes: Mapping[str, int]
    buckets: Mapping[str, int]


def of_server(text: str, server: str) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
    """(line, metric, labels, value) of each line that belongs to ``server``."""
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        if match is None or f'server="{server}"' not in line:
            continue
        labels = dict(LABEL.findall(match.group(2) or ""))
        if labels.get("server") == server:
            yield line, match.group(1), labels, float(match.group(3))


def count(text: str, server: str) -> Counters:
    """Each request of a customer once: Caddy counts it under the first handler of its one route."""
    codes: dict[str, int] = {}
    buckets: dict[str, int] = {}
    for _, metric, labels, value in of_server(text, server):
        if labels.get("handler") == VIEW_HANDLER:
            continue
        if metric == COUNT:
            codes[labels["code"]] = codes.get(labels["code"], 0) + int(value)
        elif metric == BUCKET:
            buckets[labels["le"]] = buckets.get(labels["le"], 0) + int(value)
    epoch = [line.split()[-1] for line in text.splitlines() if line.startswith(EPOCH)]
    return Counters(" ".join(epoch), codes, buckets)


def since(now: Mapping[str, int], last: Mapping[str, int], same_epoch: bool) -> dict[str, int]:
    """What was added; from zero when the counters began again in between."""
    began_again = not same_epoch or any(now.get(key, 0) < value for key, value in last.items())
    return {key: value - (0 if began_again else last.get(key, 0)) for key, value in now.items()}


def begin(counters: Counters) -> dict[str, Any]:
    """A cursor for both kinds of signal."""
    return {**_mark(counters), "good": 0, "total": 0}


def advance(cursor: Mapping[str, Any], now: Counters, settings: SignalSettings) -> dict[str, Any]:
    """The cursor with the requests since its last look added to ``good`` and ``total``."""
    added = since(now.codes, cursor["codes"], now.epoch == cursor["epoch"])
    good = sum(n for code, n in added.items() if not settings.is_bad(code))
    return {
        **_mark(now),
        "good": int(cursor["good"]) + good,
        "total": int(cursor["total"]) + sum(added.values()),
    }


def _mark(counters: Counters) -> dict[str, Any]:
    return {"epoch": counters.epoch, "codes": dict(counters.codes), "buckets": dict(counters.buckets)}


def quantile(cursor: Mapping[str, Any], now: Counters, share: float) -> float | None:
    """Milliseconds within which ``share`` of the new requests ended; None when there were none.

    Interpolated within its bucket as Prometheus does; beyond the last bound, that bound.
    """
    added = since(now.buckets, cursor["buckets"], now.epoch == cursor["epoch"])
    bounds = sorted((float(le), n) for le, n in added.items())
    if not bounds or bounds[-1][1] <= 0:
        return None
    rank = share * bounds[-1][1]
    lower, below = 0.0, 0
    for upper, cumulative in bounds:
        if cumulative >= rank:
            if upper == float("inf"):
                return lower * 1000.0
            inside = cumulative - below
            part = (rank - below) / inside if inside else 1.0
            return (lower + (upper - lower) * part) * 1000.0
        lower, below = upper, cumulative
    return lower * 1000.0
