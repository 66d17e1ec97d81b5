"""Problems, layers and files, drawn."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lastgood.cli.values import shown
from lastgood.domain.message import N_
from lastgood.translation import Translator

SEVERITIES = {"error": (N_("error"), "red"), "warning": (N_("warning"), "yellow")}


def problem_lines(t: Translator, problem: Any) -> Text:
    """``file:line severity what`` and under it the mend."""
    word, style = SEVERITIES[problem.severity]
    text = Text.assemble(
        (f"{problem.path}:{problem.line}", "bold"), " ", (t.text(word), style), " ", t(problem.what)
    )
    if problem.mend:
        text.append(f"\n    → {t(problem.mend)}")
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
