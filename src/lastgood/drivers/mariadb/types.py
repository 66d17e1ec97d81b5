"""Whether values survive that their column got another type and gets its old one back. No I/O."""

from __future__ import annotations

import re

_TYPE = re.compile(
    r"`(?:[^`]|``)*` (?P<name>\w+)(?:\((?P<size>(?:'(?:[^']|'')*'|[^)'])*)\))?"
    r"(?P<unsigned> unsigned)?(?: zerofill)?(?: CHARACTER SET (?P<charset>\w+))?"
    r"(?: COLLATE (?P<collation>\w+))?"
)
_FAMILIES = (
    ("tinyint", "smallint", "mediumint", "int", "bigint"),
    ("tinytext", "text", "mediumtext", "longtext"),
    ("tinyblob", "blob", "mediumblob", "longblob"),
    ("float", "double"),
)
_SIZED = ("varchar", "char", "varbinary", "binary", "datetime", "timestamp", "time", "bit")


def fits(before: str, between: str) -> bool:
    """Of two lines that define a column: whether every value of the first type is as it was after a stay in
    the second. Not known is no.
    """
    old, new = _TYPE.match(before), _TYPE.match(between)
    if old is None or new is None or bool(old["unsigned"]) != bool(new["unsigned"]):
        return False
    if old.group(0).split(" ", 1)[1] == new.group(0).split(" ", 1)[1]:
        return _expression(before) == _expression(between)
    if (old["charset"], old["collation"]) != (new["charset"], new["collation"]):
        return False
    first, second = old["name"].lower(), new["name"].lower()
    if first == second:
        return _larger(first, old["size"] or "", new["size"] or "")
    for family in _FAMILIES:
        if first in family and second in family:
            return family.index(second) > family.index(first)
    return first == "varchar" and second in _FAMILIES[1][1:] and int(old["size"]) * 4 < 1 << 16


def _larger(kind: str, old: str, new: str) -> bool:
    if kind in _FAMILIES[0]:
        return True  # Only how wide it is shown.
    if kind in _SIZED:
        return int(new or 0) >= int(old or 0) and kind not in ("binary",)
    if kind == "decimal":
        digits, places = (int(n) for n in old.split(","))
        more, finer = (int(n) for n in new.split(","))
        return finer >= places and more - finer >= digits - places
    return kind == "enum" and new.startswith(old)


def _expression(line: str) -> str:
    """What a generated column is computed from: another one gives other values."""
    return line.partition(" GENERATED ALWAYS AS ")[2]
