"""One difference, drawn."""

from __future__ import annotations

from rich.text import Text

from lastgood.domain.message import N_
from lastgood.domain.observation import Drift, DriftKind
from lastgood.translation import Translator

KINDS = {
    DriftKind.MISSING: (N_("missing"), "red"),
    DriftKind.CHANGED: (N_("changed"), "yellow"),
    DriftKind.UNKNOWN: (N_("not ours"), "magenta"),
}


def drift_line(t: Translator, item: Drift) -> Text:
    word, style = KINDS[item.kind]
    text = Text.assemble((t.text(word), style), f"  {item.subject}")
    if item.detail:
        text.append(f"  {item.detail}", "dim")
    return text
