"""Tables that a restore should not leave behind, although nobody thinks of them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lastgood.domain.message import N_
from lastgood.estate import model
from lastgood.estate.problems import WARNING, problem
from lastgood.ports.estate import Problem

_CREATES = re.compile(
    rb'\bCREATE\s+(?:UNLOGGED\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?("?[\w$]+"?(?:\."?[\w$]+"?)?)',
    re.IGNORECASE,
)
_SENSITIVE = re.compile(r"outbox|inbox|idempoten|stock|inventory", re.IGNORECASE)


def keep(database: model.DatabaseDeclared) -> Iterator[Problem]:
    """``keep`` without outbox or idempotency keys does again what was done; without stock, sells it again."""
    if not database.keep:
        return
    made = {name for m in database.migrations for name in _tables(m.deploy)}
    for table in sorted(made - {name.removeprefix("public.") for name in database.keep}):
        if _SENSITIVE.search(table):
            above = () if database.file.startswith("databases/") else ("databases", database.name)
            yield problem(
                database.file,
                database.document.line((*above, "keep")),
                N_("'keep' lacks the table '{table}': a restore would forget what it says since the cut"),
                N_("Add it, unless what it says may be repeated: messages sent, keys used, goods sold."),
                severity=WARNING,
                table=table,
            )


def _tables(script: bytes) -> Iterator[str]:
    for found in _CREATES.findall(script):
        yield found.decode(errors="replace").replace('"', "").removeprefix("public.")
