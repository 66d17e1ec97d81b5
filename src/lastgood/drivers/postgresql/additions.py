"""Whether a migration only added: then code that knows nothing of it can read and write as before."""

from __future__ import annotations

import re

from lastgood.drivers.postgresql.fingerprint import Listing, Part

_TABLES = ("table", "partitioned table")
_PLAIN_INDEX = re.compile(
    r'CREATE INDEX [^()]+ USING \w+ \((?:"(?:[^"]|"")+"|[\w$, ])+\)(?: INCLUDE \([^()]+\))?'
)
_UNMET = frozenset({"column order", "comment", "statistics"})
_BESIDE = frozenset({"index", "sequence", "comment", "statistics"})


def additive(before: Listing, after: Listing) -> bool:
    """Everything of ``before`` that code can meet is in ``after`` as it was, and what came to its tables
    refuses no write that they took: columns that may be left out, plain indexes. Tables of their own may have
    any rule.
    """
    if any(_met(key[0], part) and after.get(key) != part for key, part in before.items()):
        return False
    tables = {name for kind, name in before if kind in _TABLES}
    relations = {part.parent for part in before.values() if part.parent} | {name for _, name in before}
    return all(
        _harmless(kind, part, after, in_table=part.parent in tables, apart=part.parent not in relations)
        for (kind, name), part in after.items()
        if (kind, name) not in before
    )


def _met(kind: str, part: Part) -> bool:
    """Whether code may rely on it: not on an index that refuses nothing."""
    return kind not in _UNMET and not (kind == "index" and part.definition.startswith("CREATE INDEX "))


def _harmless(kind: str, part: Part, after: Listing, *, in_table: bool, apart: bool) -> bool:
    if apart:
        return kind != "event trigger"
    if not in_table:
        return kind in ("comment", "statistics")
    if kind == "column":
        return _may_be_left_out(part.definition, after)
    if kind == "index":
        return _PLAIN_INDEX.fullmatch(part.definition) is not None
    return kind in _BESIDE


def _may_be_left_out(column: str, after: Listing) -> bool:
    if any(f" {word} " in f" {column} " for word in ("default", "identity", "generated")):
        return True
    strict = [
        name for (kind, name), part in after.items() if kind == "domain" and "not null" in part.definition
    ]
    return " not null" not in column and not any(column.startswith(name) for name in strict)
