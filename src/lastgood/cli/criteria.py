"""What was measured of a criterion, as one line with its little picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from lastgood.bootstrap.service import Service
from lastgood.cli.blocks import bounds, chart, is_ratio, points
from lastgood.cli.words import percent
from lastgood.domain.criterion import Criterion, Sample
from lastgood.domain.message import N_
from lastgood.domain.rollout import Rollout
from lastgood.translation import Translator

Criteria = Mapping[str, Criterion]
WIDTH = 24


def criteria_of(service: Service, rollout: Rollout) -> Criteria:
    """The limits of a rollout's criteria, from the release we keep: that needs no estate."""
    return {c.name: c for c in service.release(rollout.target).criteria}


@dataclass(frozen=True)
class Measured:
    """All samples of one criterion in one watch, put together."""

    name: str
    ratio: bool
    value: float | None
    total: int
    limit: float | None
    least: int
    error: str

    @property
    def bad(self) -> bool:
        if self.value is None or self.limit is None:
            return False
        return self.value < self.limit if self.ratio else self.value > self.limit

    @property
    def few(self) -> bool:
        return self.total < max(1, self.least)


def measured(name: str, samples: Sequence[Sample], criterion: Criterion | None) -> Measured:
    ratio = is_ratio(samples) or (criterion is not None and criterion.signal.kind.value == "ratio")
    last = samples[-1]
    if ratio:
        value = last.good / last.total if last.total else None
        total = last.total
    else:
        readings = [s.value for s in samples if s.value is not None]
        value, total = (readings[-1] if readings else None), len(readings)
    limit, least = (criterion.limit, criterion.least_sample) if criterion else (None, 0)
    return Measured(name, ratio, value, total, limit, least, last.error)


def number(value: float | None, ratio: bool) -> str:
    if value is None:
        return "–"
    return percent(value) if ratio else f"{value:.4g}"


def spark(samples: Sequence[Sample], limit: float | None, *, width: int = WIDTH) -> Text:
    """Green where the limit holds, red where it does not, a dot where nothing was measured."""
    ratio = is_ratio(samples)
    found = points(samples, width)
    low, high = bounds(found, limit, ratio=ratio)
    text = Text()
    for point, cell in zip(found, chart(found, low, high, 1)[0], strict=True):
        text.append(cell, style(point.value, limit, ratio=ratio))
    return text


def style(value: float | None, limit: float | None, *, ratio: bool) -> str:
    if value is None:
        return "dim"
    if limit is None:
        return "cyan"
    return "red" if (value < limit if ratio else value > limit) else "green"


def criterion_line(t: Translator, seen: Measured, samples: Sequence[Sample]) -> Text:
    """``orders ▇▇▆▂▂ 81 % of 240 · limit 95 % · below its limit so far``."""
    text = Text.assemble((f"{seen.name} ", "bold"))
    text.append_text(spark(samples, seen.limit))
    colour = "red" if seen.bad else "default"
    text.append("  " + number(seen.value, seen.ratio), colour)
    if seen.ratio:
        text.append(t.text(N_(" of {total}"), total=seen.total))
    if seen.limit is not None:
        text.append(t.text(N_(" · limit {limit}"), limit=number(seen.limit, seen.ratio)), "dim")
    if seen.error and seen.value is None:
        text.append(" · " + t.text(N_("no answer: {error}"), error=seen.error), "yellow")
    elif seen.few:
        text.append(
            " · " + t.text(N_("too few to judge yet, {least} needed"), least=max(1, seen.least)), "yellow"
        )
    elif seen.bad and seen.ratio:
        text.append(" · " + t.text(N_("below its limit so far")), "red")
    elif seen.bad:
        text.append(" · " + t.text(N_("over its limit so far")), "red")
    return text
