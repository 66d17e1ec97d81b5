"""The report of a demonstration: one HTML file that needs nothing but itself."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lastgood.demo.rates import lowest
from lastgood.demo.report_data import MarkKind, RatePoint, ReportData, SiteCurve, StepRow, Words

HERE = Path(__file__).parent / "report_files"
MARK_WORDS = {
    MarkKind.DEPLOYED: Words("traffic on the new release", "流量切到新版本"),
    MarkKind.DETECTED: Words("detected", "发现异常"),
    MarkKind.TRAFFIC_BACK: Words("traffic back", "流量切回"),
    MarkKind.RESTORED: Words("all restored", "全部恢复"),
    MarkKind.VERIFIED: Words("verified", "验证通过"),
}
HEIGHT = 100.0


def write_report(path: Path, data: ReportData, lang: str = "en") -> None:
    """Write ``path`` whole or not at all. ``lang`` (``en`` or ``zh``) is shown first; both are inside.

    Raises OSError when it can't be written.
    """
    text = render(data, lang)
    half = path.with_name(f".{path.name}.half")
    with half.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)


def render(data: ReportData, lang: str = "en") -> str:
    """The page as text."""
    pages = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"seconds": seconds, "percent": percent, "both": both, "share": share}
    return pages.get_template("report.html.j2").render(
        data=data,
        lang=lang,
        charts=[_chart(curve, data) for curve in data.curves],
        forth=_groups([step for step in data.steps if not step.way_back]),
        back=_groups([step for step in data.steps if step.way_back]),
        acknowledged=sum(row.acknowledged for row in data.ledger),
        in_database=sum(row.in_database for row in data.ledger),
        shipped=sum(row.shipped_once for row in data.ledger),
    )


def both(words: Words) -> Markup:
    """A sentence in both languages; the style sheet shows one."""
    return Markup('<span lang="en">{}</span><span lang="zh">{}</span>').format(words.en, words.zh)


def seconds(value: float | None) -> str:
    """``40 ms``, ``4.1 s``, ``12 s``; a dash for what did not happen."""
    if value is None:
        return "–"
    if value < 0.0995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def percent(value: float | None) -> str:
    """``80.4 %`` of a share (0..1); a dash for what was not measured."""
    if value is None:
        return "–"
    return f"{value * 100:.1f}".removesuffix(".0") + " %"


def share(value: float, whole: float) -> str:
    """A position or a width in CSS per cent."""
    return f"{min(100.0, max(0.0, value / whole * 100 if whole else 0.0)):.2f}"


@dataclass(frozen=True)
class Flag:
    """A mark in a picture; ``row`` lifts it over a neighbour that it would cover."""

    number: int
    at: float
    row: int
    words: Words


@dataclass(frozen=True)
class Chart:
    """``line`` and ``area`` are SVG paths in a box of ``seconds`` by 100; ``bad`` is from when to when
    customers met the bad release.
    """

    curve: SiteCurve
    line: str
    area: str
    limit_y: str
    bad: tuple[float, float] | None
    flags: tuple[Flag, ...]
    floor: float
    lowest: float | None

    @property
    def rows(self) -> int:
        """How many rows of flags stand above the picture."""
        return max((flag.row + 1 for flag in self.flags), default=0)


def _chart(curve: SiteCurve, data: ReportData) -> Chart:
    worst = lowest(curve.points)
    # The picture begins at a round number below the worst moment, so that small dips are seen too.
    floor = max(0, math.floor((min(data.limit, worst if worst is not None else 1.0) - 0.03) * 10)) / 10
    line, area = _paths(curve.points, floor)
    by_kind = {mark.kind: mark.at for mark in curve.marks}
    bad = None
    if MarkKind.DEPLOYED in by_kind:
        until = by_kind.get(MarkKind.TRAFFIC_BACK, by_kind.get(MarkKind.RESTORED, data.seconds))
        bad = (by_kind[MarkKind.DEPLOYED], until)
    return Chart(curve, line, area, _y(data.limit, floor), bad, _flags(curve, data.seconds), floor, worst)


def _flags(curve: SiteCurve, whole: float) -> tuple[Flag, ...]:
    numbers = {kind: number for number, kind in enumerate(MarkKind, 1)}
    flags: list[Flag] = []
    for mark in sorted(curve.marks, key=lambda mark: mark.at):
        near = [flag for flag in flags if whole and (mark.at - flag.at) / whole < 0.05]
        row = min(set(range(len(near) + 1)) - {flag.row for flag in near})
        flags.append(Flag(numbers[mark.kind], mark.at, row, MARK_WORDS[mark.kind]))
    return tuple(flags)


def _y(rate: float, floor: float) -> str:
    return f"{HEIGHT * (1 - (rate - floor) / (1 - floor)):.2f}"


def _paths(points: Sequence[RatePoint], floor: float) -> tuple[str, str]:
    """A line and the area under it; where nobody tried there is a gap."""
    line, area, run = [], [], []
    for point in (*points, RatePoint(0.0, 0, 0)):
        if point.rate is not None:
            run.append(f"{point.at:.2f},{_y(point.rate, floor)}")
        elif run:
            line.append("M" + " L".join(run))
            ends = run[0].split(",")[0], run[-1].split(",")[0]
            area.append(f"M{ends[0]},{HEIGHT:.0f} L" + " L".join(run) + f" L{ends[1]},{HEIGHT:.0f} Z")
            run = []
    return " ".join(line), " ".join(area)


@dataclass(frozen=True)
class Group:
    """The steps of one unit, drawn on its own scale from ``begin`` over ``seconds``."""

    unit: str
    steps: tuple[StepRow, ...]
    begin: float
    seconds: float


def _groups(steps: Sequence[StepRow]) -> list[Group]:
    found = []
    for unit in dict.fromkeys(step.unit for step in steps):
        own = tuple(sorted((step for step in steps if step.unit == unit), key=lambda step: step.start))
        begin = own[0].start
        found.append(Group(unit, own, begin, max(step.start + step.seconds for step in own) - begin))
    return found
