"""A restore, drawn before it is confirmed: what was written since, what becomes of it, the steps."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.cli.plan_view import step_table
from lastgood.domain.capture import Capture
from lastgood.domain.message import N_
from lastgood.domain.quarantine import Quarantine
from lastgood.domain.restore_plan import RestorePlan
from lastgood.domain.salvage import WritesSince
from lastgood.domain.status import UnitStatus
from lastgood.translation import Translator


def restore_view(t: Translator, planned: RestorePlan) -> Group:
    """On one screen, before a person says yes."""
    capture = planned.capture
    parts: list[Text | Table] = [
        Text(t.text(N_("restore {resource}"), resource=capture.resource), "bold"),
        Text(
            t.text(
                N_("to {at}, before {names} ({snapshot})"),
                at=words.moment(planned.snapshot.created_at),
                names=", ".join(capture.moving) or "-",
                snapshot=capture.snapshot,
            )
        ),
    ]
    parts += _writes(t, planned)
    parts += [Text("! " + t(one), "bold red") for one in planned.neighbours.left]
    parts.append(step_table(t, planned.plan.steps, undo=False))
    parts.append(Text(_fence(t, planned), "bold"))
    parts += [Text("! " + t(note), "yellow") for note in planned.plan.notes]
    return Group(*parts)


def _writes(t: Translator, planned: RestorePlan) -> list[Text | Table]:
    """Per table, in the business's words; what is unknown is said, never counted as nothing."""
    writes = planned.writes
    parts: list[Text | Table] = [Text(t.text(N_("written since, by table")), "bold")]
    if any(table.rows for table in writes.tables):
        parts.append(_table(t, planned))
    elif writes.complete:
        parts.append(Text("  " + t.text(N_("nothing was written since")), "green"))
    return parts + unknown_lines(t, writes)


def _table(t: Translator, planned: RestorePlan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(t.text(N_("what")), overflow="fold")
    for title in (N_("new"), N_("changed"), N_("deleted")):
        table.add_column(t.text(title), justify="right")
    table.add_column(t.text(N_("what becomes of it")), overflow="fold")
    language = t.locale.partition("_")[0]
    for row in (one for one in planned.writes.tables if one.rows):
        called = planned.name(row.table, language)
        name = Text(called)
        if called != row.table:
            name.append(f"  {row.table}", "dim")
        becomes, style = (
            (N_("carried over"), "green")
            if row.kept
            else (N_("stays in the failed database only"), "bold red")
        )
        counts = (str(count) for count in (row.inserted, row.updated, row.deleted))
        table.add_row(name, *counts, Text(t.text(becomes), style))
    return table


def unknown_lines(t: Translator, writes: WritesSince) -> list[Text | Table]:
    """Why what was counted is not all."""
    if writes.complete:
        return []
    head = t.text(N_("inconclusive: not every write since the cut is known"))
    return [
        Text("? " + head, "bold yellow"),
        *(Text(f"  {t(reason)}", "yellow") for reason in writes.reasons),
    ]


def _fence(t: Translator, planned: RestorePlan) -> str:
    swap = next(step for step in planned.plan.steps if step.id == "swap")
    if swap.estimate.seconds is None:
        return t.text(N_("closed for the tail and the swap alone; how long was never measured here"))
    return t.text(N_("closed: {time}"), time=words.estimate(t, swap.estimate))


def database_lines(t: Translator, units: Sequence[UnitStatus]) -> list[Text | Table]:
    """What a person has to know of the databases, each once, with the command for it."""
    lines: list[Text | Table] = []
    left_by = {left.snapshot: (left, status) for status in reversed(units) for left in status.left}
    for left, status in left_by.values():
        template = N_(
            "! {unit}: the data of {resource} is still as {name} left it. Back to {at} with what was written "
            "since: lastgood restore {unit}"
        )
        at = words.moment(left.since)
        text = t.text(template, unit=status.unit, resource=left.resource, name=left.name, at=at)
        lines.append(Text(text, "bold red"))
    opened_by = {
        capture.snapshot: (capture, status) for status in reversed(units) for capture in status.captures
    }
    for capture, status in opened_by.values():
        age = words.seconds((status.observed_at - capture.opened_at).total_seconds())
        template = N_(
            "{unit}: what is written to {resource} has been kept for {age}. If nobody will restore: "
            'lastgood restore {unit} --forget --reason "…"'
        )
        lines.append(Text(t.text(template, unit=status.unit, resource=capture.resource, age=age), "yellow"))
    return lines


def held_lines(
    t: Translator, captures: Sequence[Capture], writes: Sequence[WritesSince]
) -> list[Text | Table]:
    """How much a server holds for a capture, as it was seen just now."""
    lines: list[Text | Table] = []
    resources = {capture.snapshot: capture.resource for capture in captures}
    template = N_("{resource}: {rows} rows written since the cut; the server holds {size} KiB for them")
    for seen in writes:
        rows, size = sum(table.rows for table in seen.tables), -(-seen.held // 1024)
        text = t.text(template, resource=resources.get(seen.snapshot, "-"), rows=rows, size=size)
        lines += [Text(text, "dim"), *warm_lines(t, resources.get(seen.snapshot, "-"), seen)]
        lines += unknown_lines(t, seen)
    return lines


def warm_lines(t: Translator, resource: str, seen: WritesSince) -> list[Text]:
    """What stands by for going back."""
    if seen.warm is None:
        return []
    if not seen.warm.usable:
        text = t.text(N_("{resource}: the warm copy can't be used: {why}"), resource=resource,
                      why=t(seen.warm.trouble))  # fmt: skip
        return [Text("? " + text, "yellow")]
    ready = N_("{resource}: a warm copy stands by, {size} MiB: going back loads nothing")
    return [Text(t.text(ready, resource=resource, size=-(-seen.warm.size >> 20)), "dim")]


def failed_text(t: Translator, failed: Sequence[Quarantine]) -> Text:
    """Databases set aside, under the names they have now."""
    template = N_("{name}, was {resource} until {at}; kept at least until {until}")
    told = [
        t.text(
            template,
            name=one.name,
            resource=one.resource,
            at=words.moment(one.at),
            until=f"{one.until:%Y-%m-%d}" if one.until else "-",
        )
        for one in failed
    ]
    return Text("\n".join(told), "magenta")
