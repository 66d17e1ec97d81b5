"""What is set aside, as a list and beside a rollout."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from lastgood.cli.words import moment
from lastgood.domain.digest import short
from lastgood.domain.message import N_
from lastgood.domain.quarantine import Quarantine, QuarantineKind
from lastgood.translation import Translator

KINDS = {
    QuarantineKind.IMAGE: N_("image"),
    QuarantineKind.ARTIFACT: N_("artifact"),
    QuarantineKind.RELEASE: N_("release"),
    QuarantineKind.COMMIT: N_("commit"),
    QuarantineKind.DATABASE: N_("database"),
}


def quarantine_lines(t: Translator, found: Sequence[Quarantine]) -> list[Text]:
    """Three lines each; the names that lift takes are never broken over two lines."""
    lines = []
    for entry in found:
        head = Text.assemble("⊘ ", (thing(t, entry), "bold magenta"), f"  {moment(entry.at)}")
        if entry.unit:
            head.append(f"  {entry.unit}")
        if entry.incident:
            head.append(f"  {entry.incident}")
        lines += [head, Text(f"  {t(entry.reason)} · {entry.by}"), Text(f"  {entry.id}", "dim")]
        if entry.lifted_at:
            lines.append(_lifted(t, entry))
    return lines


def aside_lines(t: Translator, found: Sequence[Quarantine]) -> list[Text]:
    """What an incident set aside, and what of it was lifted since."""
    lines = []
    for entry in found:
        line = Text("  " + t.text(N_("set aside: {thing}"), thing=thing(t, entry)), "magenta")
        if entry.lifted_at:
            line.append_text(_lifted(t, entry))
        lines.append(line)
    return lines


def _lifted(t: Translator, entry: Quarantine) -> Text:
    words = t.text(N_("lifted by {by}: {reason}"), by=entry.lifted_by, reason=entry.lifted_reason)
    return Text("  " + words, "green")


def thing(t: Translator, entry: Quarantine) -> str:
    """``image 3f9ac2…``; a commit with its service."""
    if entry.kind is QuarantineKind.COMMIT:
        return f"{t.text(KINDS[entry.kind])} {entry.name[:10]} {entry.service}"
    if entry.kind is QuarantineKind.DATABASE:
        return f"{t.text(KINDS[entry.kind])} {entry.name}"
    return f"{t.text(KINDS[entry.kind])} {short(entry.name)}"
