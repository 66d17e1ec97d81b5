"""The audit as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from lastgood.cli.words import moment
from lastgood.domain.audit import AuditRecord, Phase
from lastgood.domain.message import N_
from lastgood.translation import Translator

PHASES = {Phase.INTENT: (N_("intent"), "cyan"), Phase.OUTCOME: (N_("outcome"), "green")}


def audit_table(t: Translator, records: Sequence[AuditRecord]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("", justify="right", style="dim")
    table.add_column(t.text(N_("when")), no_wrap=True)
    table.add_column(t.text(N_("who")), overflow="fold")
    table.add_column(t.text(N_("what")), overflow="fold")
    table.add_column(t.text(N_("why, or what came of it")), overflow="fold")
    for record in records:
        word, style = PHASES[record.phase]
        what = Text.assemble(record.verb, " ", (t.text(word), style), f"\n{record.subject}")
        why = Text(t.retell(record.reason))
        table.add_row(Text(str(record.sequence)), Text(moment(record.at)), Text(record.actor), what, why)
    return table
