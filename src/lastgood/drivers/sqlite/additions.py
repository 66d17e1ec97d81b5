"""Whether a migration only added: then code that knows nothing of it can read and write as before."""

from __future__ import annotations

import re

from lastgood.drivers.sqlite.fingerprint import COLUMN, INDEX, ORDER, TABLE, VIEW
from lastgood.sql.listing import Listing, Part

_PLAIN_INDEX = re.compile(r"create index (?:if not exists )?\w+ on \w+ \( \w+(?: , \w+)* \)")


def additive(before: Listing, after: Listing) -> bool:
    """Everything of ``before`` that code can meet is in ``after`` as it was, and what came to its tables
    refuses no write that they took: columns that may be left out, plain indexes. New tables may have any
    rule.
    """
    if any(_met(key[0], part) and after.get(key) != part for key, part in before.items()):
        return False
    tables = {name for kind, name in before if kind == TABLE}
    return all(
        _harmless(kind, part, in_table=part.parent in tables)
        for (kind, name), part in after.items()
        if (kind, name) not in before
    )


def _met(kind: str, part: Part) -> bool:
    """Whether code may rely on it: not on an index that refuses nothing."""
    return kind != ORDER and not (kind == INDEX and part.definition.startswith("create index "))


def _harmless(kind: str, part: Part, *, in_table: bool) -> bool:
    if not in_table:
        return kind in (TABLE, VIEW) or bool(part.parent)
    if kind == COLUMN:
        words = part.definition.split()
        optional = "not null" not in part.definition or {"default", "generated", "as"} & set(words)
        return bool(optional) and not {"check", "unique", "primary"} & set(words)
    return kind == INDEX and _PLAIN_INDEX.fullmatch(part.definition) is not None
