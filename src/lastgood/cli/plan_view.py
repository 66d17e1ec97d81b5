"""A plan, drawn: what changes, the steps with their way back and their estimate, what must be known."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.domain.digest import short
from lastgood.domain.message import N_
from lastgood.domain.plan import Difference, FileDifference, Plan, PlanKind, Reversibility, Step, StepKind
from lastgood.translation import Translator

DIFF_LINES = 40
"""Lines of a file's difference that are shown; all are in the JSON."""
CHANGES = {
    "added": (N_("added"), "green"),
    "removed": (N_("removed"), "red"),
    "changed": (N_("changed"), "yellow"),
}
SETTINGS = {
    "roles": N_("how it runs"),
    "files_target": N_("where its files go"),
    "runtime": N_("what runs it"),
    "traffic": N_("how traffic reaches it"),
    "criteria": N_("what good means"),
    "windows": N_("how long it is watched"),
    "canary": N_("its canary steps"),
    "keep": N_("what is kept for going back"),
    "registry": N_("where its image comes from"),
    "databases": N_("which tables a restore brings up to date"),
    "journeys": N_("how a rehearsal writes rows"),
}


def plan_view(t: Translator, plan: Plan) -> Group:
    """The whole plan on one screen, the way back included."""
    parts: list[Text | Table] = [_head(t, plan), Text("")]
    parts += difference_lines(t, plan.difference)
    parts.append(step_table(t, plan.steps, undo=plan.kind is PlanKind.DEPLOY))
    if plan.way_back:
        parts += way_back_lines(t, plan)
    parts += [Text("! " + t(note), "yellow") for note in plan.notes]
    if not plan.automatic:
        parts.append(
            Text(
                "! " + t.text(N_("A broken gate waits for a person here; nothing goes back by itself.")),
                "yellow",
            )
        )
    return Group(*parts)


def _head(t: Translator, plan: Plan) -> Text:
    text = Text.assemble((f"{t.text(words.KINDS[plan.kind])} {plan.unit}", "bold"))
    text.append(f"  {short(plan.base) or '-'} → {short(plan.target)}")
    if plan.commit:
        text.append(t.text(N_(" (commit {commit})"), commit=words.commit(plan.commit)), "dim")
    text.append("\n" + t.text(N_("plan {digest}"), digest=short(plan.digest)), "dim")
    return text


def difference_lines(t: Translator, difference: Difference) -> list[Text | Table]:
    """What changes, in the order in which people ask."""
    parts: list[Text | Table] = []
    for file in difference.files:
        parts += _file(t, file)
    for title, pair in ((N_("artifact"), difference.artifact), (N_("image"), difference.image)):
        if pair:
            parts.append(_change(t, title, f"{pair[0] or '-'} → {pair[1] or '-'}"))
    for title, names in (
        (N_("secrets"), difference.secrets),
        (N_("migrates"), difference.migrations),
        (N_("reverts"), difference.reverts),
        (N_("settings"), [t.text(SETTINGS.get(s, s)) for s in difference.settings]),
    ):
        if names:
            parts.append(_change(t, title, ", ".join(names)))
    if not difference:
        parts.append(Text(t.text(N_("nothing changes")), "dim"))
    return parts


def _change(t: Translator, title: str, text: str) -> Text:
    return Text.assemble((f"{t.text(title)}  ", "bold"), text)


def _file(t: Translator, file: FileDifference) -> list[Text | Table]:
    word, style = CHANGES[file.change]
    lines: list[Text | Table] = [Text.assemble((file.path, "bold"), "  ", (t.text(word), style))]
    diff = [line for line in file.diff.splitlines() if not line.startswith(("---", "+++"))]
    for line in diff[:DIFF_LINES]:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        lines.append(Text("  " + line, colour))
    if len(diff) > DIFF_LINES:
        more = t.text(N_("… {count} more lines; all with --json"), count=len(diff) - DIFF_LINES)
        lines.append(Text("  " + more, "dim"))
    return lines


def step_table(t: Translator, steps: Sequence[Step], *, undo: bool) -> Table:
    """Steps in their order; ``undo``: with how each can be undone."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("", justify="right", style="dim")
    table.add_column(t.text(N_("step")), overflow="fold")
    if undo:
        table.add_column(t.text(N_("undone")), overflow="fold")
    table.add_column(t.text(N_("takes")), overflow="fold")
    for number, step in enumerate(steps, 1):
        row = [Text(str(number)), Text(t(step.title))]
        if undo:
            word, style = words.REVERSIBLE[step.reversibility]
            nothing = step.reversibility is Reversibility.NOTHING
            row.append(Text("–" if nothing else t.text(word), style))
        row.append(Text(words.estimate(t, step.estimate), "" if step.estimate.seconds is not None else "dim"))
        table.add_row(*row)
    return table


def way_back_lines(t: Translator, plan: Plan) -> list[Text | Table]:
    """The order of the way back, and how soon customers are on the old generation again."""
    titles = " → ".join(t(step.title) for step in plan.way_back)
    parts: list[Text | Table] = [Text.assemble((t.text(N_("the way back")) + "  ", "bold"), titles)]
    first = steps_to_traffic(plan.way_back)
    if first:
        time = words.estimate(t, words.together(first))
        parts.append(Text("  " + t.text(N_("traffic back: {time}"), time=time)))
    return parts


def steps_to_traffic(steps: Sequence[Step]) -> Sequence[Step]:
    """All up to the shift of the traffic; empty when there is none."""
    for number, step in enumerate(steps, 1):
        if step.kind is StepKind.SHIFT_TRAFFIC:
            return steps[:number]
    return ()
