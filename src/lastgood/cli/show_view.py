"""One rollout, whole: timeline, what was measured, the incident, what followed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.cli.blocks import bounds, chart, is_ratio, points
from lastgood.cli.criteria import number, style
from lastgood.cli.quarantine_view import aside_lines
from lastgood.cli.session import Session
from lastgood.cli.trace import StepState, StepTrace, Trace
from lastgood.domain.criterion import GateResult, Sample
from lastgood.domain.digest import short
from lastgood.domain.incident import Incident
from lastgood.domain.message import N_
from lastgood.domain.quarantine import Quarantine
from lastgood.domain.rollout import Rollout
from lastgood.domain.status import Progress
from lastgood.translation import Translator

BAR = 24
CHART_WIDTH = 60
CHART_HEIGHT = 4
MARKS = {
    StepState.WAITING: ("○", "dim"),
    StepState.RUNNING: ("▸", "cyan"),
    StepState.DONE: ("✓", "green"),
    StepState.FAILED: ("✗", "bold red"),
}
Parts = list[Table | Text]


def show_view(
    session: Session,
    progress: Progress,
    incident: Incident | None,
    related: Sequence[Rollout],
    aside: Sequence[Quarantine] = (),
) -> Group:
    """Everything that is kept of a rollout, in the order in which it is asked."""
    t = session.t
    trace = Trace(progress.rollout)
    list(trace.update(progress))
    parts: Parts = [*_head(t, progress.rollout), _timeline(t, trace)]
    failed = trace.failed_step
    if failed is not None:
        parts.append(Text(f"✗ {t(failed.failure)}", "bold red"))
        if failed.mend:
            parts.append(Text(f"  → {t(failed.mend)}"))
    if progress.rollout.gate is not None:
        parts.append(_gate(t, progress.rollout.gate))
    parts += _pictures(t, trace)
    if incident is not None:
        parts += [*_incident(t, incident), *aside_lines(t, aside)]
    for other in related:
        word, colour = words.state_word(other)
        told = Text("\n  " + t(other.outcome)) if other.outcome.params else Text()
        parts.append(Text.assemble(("↩ ", "yellow"), t.text(N_("taken back by {rollout}"), rollout=other.id),
                                   "  ", (t.text(word), colour), told))  # fmt: skip
    return Group(*parts)


def _head(t: Translator, rollout: Rollout) -> Parts:
    word, colour = words.state_word(rollout)
    head = Text.assemble(
        (f"{t.text(words.KINDS[rollout.kind])} {rollout.unit}", "bold"),
        f"  {short(rollout.base) or '-'} → {short(rollout.target)}  ",
        (t.text(word), f"bold {colour}"),
    )
    when = words.moment(rollout.created_at)
    if rollout.finished_at:
        when += f" – {words.moment(rollout.finished_at)}"
    change = rollout.change
    about = t.text(
        N_("{reason} · owner {owner} · touches {impact} · asked by {by}"),
        reason=change.reason, owner=change.owner, impact=change.impact, by=change.requested_by,
    )  # fmt: skip
    parts: Parts = [head, Text(f"{rollout.id}  {when}", "dim"), Text(about)]
    if rollout.outcome:
        parts.append(Text(t(rollout.outcome), colour))
    if rollout.part_of:
        parts.append(Text(t.text(N_("part of {change}"), change=rollout.part_of), "dim"))
    if rollout.undoes:
        parts.append(Text("↩ " + t.text(N_("takes back {rollout}"), rollout=rollout.undoes), "yellow"))
    return parts


def _timeline(t: Translator, trace: Trace) -> Table:
    """Each step as a bar where it lies in time."""
    now = datetime.now(UTC)
    start = min((s.started for s in trace.steps.values() if s.started), default=trace.rollout.created_at)
    end = max((s.ended or now for s in trace.steps.values() if s.started), default=now)
    span = max((end - start).total_seconds(), 1e-6)
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=80 - BAR - 18)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for step in trace.steps.values():
        mark, colour = MARKS[step.state]
        took = step.seconds(now)
        seconds = Text(words.seconds(took) if took is not None else "", "dim")
        dim = "dim" if step.state is StepState.WAITING else ""
        table.add_row(
            Text(mark, colour), Text(t(step.step.title), dim), _bar(step, start, span, now), seconds
        )
    return table


def _bar(step: StepTrace, start: datetime, span: float, now: datetime) -> Text:
    if step.started is None:
        return Text(" " * BAR)
    left = min(BAR - 1, int((step.started - start).total_seconds() / span * BAR))
    width = max(1, min(BAR - left, round((step.seconds(now) or 0.0) / span * BAR)))
    colour = MARKS[step.state][1]
    return Text.assemble(("·" * left, "dim"), ("━" * width, colour), ("·" * (BAR - left - width), "dim"))


def _gate(t: Translator, gate: GateResult) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(t.text(N_("criterion")), overflow="fold")
    table.add_column(t.text(N_("measured")), justify="right")
    table.add_column(t.text(N_("limit")), justify="right")
    table.add_column(t.text(N_("good/total")), justify="right")
    table.add_column(t.text(N_("verdict")))
    table.add_column(t.text(N_("why")), overflow="fold")
    for finding in gate.findings:
        word, colour = words.VERDICTS[finding.verdict]
        ratio = finding.total > 0 and finding.good <= finding.total and finding.limit <= 1
        counts = f"{finding.good}/{finding.total}" if ratio else "-"
        table.add_row(
            Text(finding.criterion), Text(number(finding.measured, ratio)),
            Text(number(finding.limit, ratio)), Text(counts), Text(t.text(word), colour),
            Text(t.retell(finding.reason)),
        )  # fmt: skip
    return table


def _pictures(t: Translator, trace: Trace) -> Parts:
    """A picture for each criterion: what came between two looks, over time."""
    limits = {f.criterion: f.limit for f in trace.rollout.gate.findings} if trace.rollout.gate else {}
    parts: Parts = []
    for name, samples in trace.samples.items():
        if any(s.total or s.value is not None for s in samples):
            parts += picture(t, name, samples, limits.get(name))
    return parts


def picture(t: Translator, name: str, samples: Sequence[Sample], limit: float | None) -> Parts:
    """Four rows of blocks with the highest and lowest value beside them."""
    ratio = is_ratio(samples)
    found = points(samples, CHART_WIDTH)
    low, high = bounds(found, limit, ratio=ratio)
    title = t.text(N_("{name}: success rate over time") if ratio else N_("{name} over time"), name=name)
    head = Text(title, "bold")
    if limit is not None:
        head.append(t.text(N_(" · limit {limit}"), limit=number(limit, ratio)), "dim")
    parts: Parts = [head]
    rows = chart(found, low, high, CHART_HEIGHT)
    for index, row in enumerate(rows):
        label = number(high if index == 0 else low, ratio) if index in (0, len(rows) - 1) else ""
        line = Text.assemble((f"{label:>9} │", "dim"))
        for point, cell in zip(found, row, strict=True):
            line.append(cell, style(point.value, limit, ratio=ratio))
        parts.append(line)
    seconds = (samples[-1].at - min(samples[0].since, samples[0].at)).total_seconds()
    left, right = words.moment(samples[0].at), words.seconds(seconds)
    gap = max(1, len(found) - len(left) - len(right))
    parts.append(Text(f"{'':>9} └{left}{' ' * gap}{right}", "dim"))
    return parts


def _incident(t: Translator, incident: Incident) -> Parts:
    opened = words.moment(incident.opened_at)
    parts: Parts = [Text.assemble((t.text(N_("incident")) + f" {incident.id}", "bold red"), f"  {opened}")]
    parts.append(Text("  " + t(incident.reason), "red"))
    if incident.evidence:
        parts.append(Text("  " + t.text(N_("evidence: {directory}"), directory=incident.evidence)))
    return parts
