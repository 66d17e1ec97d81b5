"""Whether a migration only added: then code that knows nothing of it can read and write as before."""

from __future__ import annotations

import re

from lastgood.drivers.postgresql.fingerprint import Listing, Part
from lastgood.sql.additions import only_added

_TABLES = ("table", "partitioned table")
_PLAIN_INDEX = re.compile(
    r'CREATE INDEX [^()]+ USING \w+ \((?:"(?:[^"]|"")+"|[\w$, ])+\)(?: INCLUDE \([^()]+\))?'
)
_UNMET = frozenset({"column order", "comment", "statistics"})
_BESIDE = frozenset({"index", "sequence", "comment", "statistics"})


def additive(before: Listing, after: Listing) -> bool:
    """Columns that may be left out and plain indexes came to old tables. Tables of their own may have any
    rule.
    """

    def beside(kind: str, part: Part, in_table: bool) -> bool:
        return _harmless(kind, part, after, in_table=in_table)

    return only_added(
        before, after, tables=_TABLES, met=_met, apart=lambda kind: kind != "event trigger", beside=beside
    )


def _met(kind: str, part: Part) -> bool:
    """Whether code may rely on it: not on an index that refuses nothing."""
    return kind not in _UNMET and not (kind == "index" and part.definition.startswith("CREATE INDEX "))


def _harmless(kind: str, part: Part, after: Listing, *, in_table: bool) -> bool:
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
