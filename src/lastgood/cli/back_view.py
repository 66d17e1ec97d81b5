"""A way back, drawn on one screen: where to, how long, what is kept and what is not."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.cli.plan_view import difference_lines, step_table, steps_to_traffic
from lastgood.cli.session import Session
from lastgood.domain.digest import short
from lastgood.domain.message import N_
from lastgood.domain.plan import Plan
from lastgood.domain.restore_point import RestorePoint
from lastgood.domain.status import UnitStatus
from lastgood.translation import Translator


def back_view(session: Session, plan: Plan) -> Group:
    """A rollback that is planned anew."""
    t = session.t
    _, points = session.service.history(plan.unit)
    point = next((p for p in points if p.release == plan.target), None)
    head = Text.assemble(
        (f"{t.text(N_('rollback'))} {plan.unit}", "bold"), f"  {short(plan.base)} → {short(plan.target)}"
    )
    parts: list[Text | Table] = [head]
    if point is not None:
        parts.append(point_line(t, point))
    parts += difference_lines(t, plan.difference)
    parts.append(step_table(t, plan.steps, undo=False))
    first = steps_to_traffic(plan.steps)
    if first:
        parts.append(
            Text(t.text(N_("traffic back: {time}"), time=words.estimate(t, words.together(first))), "bold")
        )
    parts += kept_lines(t, plan)
    parts += [Text("! " + t(note), "yellow") for note in plan.notes]
    return Group(*parts)


def point_line(t: Translator, point: RestorePoint) -> Text:
    word, style = words.POINTS[point.kind]
    text = Text.assemble((t.text(word), style))
    text.append(t.text(N_(" since {time}"), time=words.moment(point.created_at)))
    text.append(f"  {point.id}", "dim")
    return text


def kept_lines(t: Translator, plan: Plan) -> list[Text | Table]:
    """What becomes of data: reverts take columns and tables away, after a copy of them was kept."""
    lines: list[Text | Table] = [
        Text(t.text(N_("kept: logs and files of what runs now, set aside as evidence; every row of data")))
    ]
    if plan.difference.reverts:
        names = ", ".join(plan.difference.reverts)
        lost = t.text(
            N_("taken out of the database: what {names} added, and what was written there since"), names=names
        )
        copy = t.text(N_("a copy of the database as it is now is kept before"))
        lines = [
            Text(t.text(N_("kept: logs and files of what runs now, set aside as evidence"))),
            Text(lost, "yellow"),
            Text("  " + copy),
        ]
    return lines


def turn_back_view(t: Translator, status: UnitStatus) -> Group:
    """A deploy that is still open is told to turn back: its own way back runs."""
    rollout = status.rollout
    title = t.text(N_("take back {rollout}"), rollout=rollout.id if rollout else "-")
    parts = [Text.assemble((title, "bold"), f"  {status.unit}")]
    back = status.way_back
    if back is not None:
        warmth = t.text(N_("warm")) if back.warm else t.text(N_("cold"))
        parts.append(Text(t.text(N_("to {release} ({warmth})"), release=short(back.release), warmth=warmth)))
        parts.append(Text(t.text(N_("traffic back: {time}"), time=words.estimate(t, back.estimate)), "bold"))
    if rollout is not None:
        titles = " → ".join(t(step.title) for step in rollout.plan.way_back)
        parts.append(Text.assemble((t.text(N_("the way back")) + "  ", "bold"), titles))
    return Group(*parts)
