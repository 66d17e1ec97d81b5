"""Problems, layers and files, drawn."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lastgood.cli import words
from lastgood.cli.values import shown
from lastgood.domain.finding import Blocks
from lastgood.domain.message import N_
from lastgood.translation import Translator

STATEMENT = 100
"""Characters of a statement that are shown."""
BLOCKED = {
    Blocks.NOTHING: N_("stops nobody"),
    Blocks.WRITES: N_("blocks writes"),
    Blocks.EVERYTHING: N_("blocks reads and writes"),
}
SEVERITIES = {"error": (N_("error"), "red"), "warning": (N_("warning"), "yellow")}


def problem_lines(t: Translator, problem: Any) -> Text:
    """``file:line severity what`` and under it the mend."""
    word, style = SEVERITIES[problem.severity]
    text = Text.assemble(
        (f"{problem.path}:{problem.line}", "bold"), " ", (t.text(word), style), " ", t(problem.what)
    )
    finding = problem.finding
    if finding is not None:
        if finding.lock:
            text.append(f": {finding.lock}, {t.text(BLOCKED[finding.blocks])}")
        text.append(f"\n    {finding.statement}", "dim")
    if problem.mend:
        text.append(f"\n    → {t(problem.mend)}")
    for number, script in enumerate(finding.safer if finding is not None else (), 1):
        if finding is not None and len(finding.safer) > 1:
            text.append("\n      " + t.text(N_("migration {number}"), number=number), "dim")
        text.append("".join(f"\n      {line}" for line in script.splitlines()), "cyan")
    return text


def class_lines(t: Translator, one: Any) -> Text:
    """How a migration goes back, and by what that was decided."""
    seen = one.review.classification
    word, style = words.REVERSIBLE[seen.reversibility]
    place = f"{one.path}:{one.review.line}" if one.review.line else one.path
    text = Text.assemble((place, "bold"), " ", (t.text(word), style), ": ", t.retell(str(seen.reason)))
    if seen.statement:
        statement = " ".join(seen.statement.split())
        text.append(
            "\n    " + (statement if len(statement) <= STATEMENT else statement[:STATEMENT] + "…"), "dim"
        )
    return text


def layer_table(t: Translator, provenance: Any) -> Table:
    """Base first; the winner is marked."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in (N_("layer"), N_("value"), N_("where")):
        table.add_column(t.text(title), overflow="fold")
    table.add_column("")
    last = len(provenance.layers)
    for number, (layer, file, line, value) in enumerate(provenance.layers, 1):
        wins = number == last
        style = "bold" if wins else "dim"
        mark = Text("← " + t.text(N_("holds")), style="green") if wins else Text("")
        table.add_row(Text(layer, style), Text(shown(value), style), Text(f"{file}:{line}", "dim"), mark)
    return table


def file_text(path: str, content: bytes) -> Text:
    try:
        body = content.decode()
    except UnicodeDecodeError:
        body = f"({len(content)} bytes)"
    return Text.assemble((f"── {path}\n", "bold cyan"), body.rstrip("\n"))
