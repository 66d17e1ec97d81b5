"""A schema as a listing that is equal exactly when the schema is, and its digest."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lastgood.drivers.postgresql.catalogue import QUERIES, WITH
from lastgood.drivers.postgresql.connection import Connection
from lastgood.sql import listing
from lastgood.sql.listing import Listing, Part, fingerprint, from_plain, to_plain

__all__ = [
    "Listing",
    "Part",
    "difference",
    "fingerprint",
    "from_plain",
    "in_order",
    "read_listing",
    "settled",
    "to_plain",
]

_CAST_ARRAY = re.compile(r"\(ARRAY\[")
_NAME = re.compile(r'"(?:[^"]|"")*"|[^", ]+')
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


def read_listing(connection: Connection) -> Listing:
    """Everything of the schema but lastgood's own; inside the caller's transaction."""
    connection.execute("SET LOCAL search_path = pg_catalog")
    found: dict[tuple[str, str], Part] = {}
    for query in QUERIES.values():
        for kind, parent, name, definition in connection.execute(WITH + query):
            found[kind, name] = Part(parent, settled(definition or ""))
    return found


def difference(wanted: Listing, found: Listing, *, limit: int = 20) -> str:
    """How ``found`` differs, for people; ``public`` goes without saying."""
    return listing.difference(wanted, found, usual="public.", limit=limit)


def in_order(before: Listing, between: Sequence[Listing], after: Listing) -> Listing:
    """``after``, but with the order of ``before`` where only columns that were gone ``between`` come last
    instead: there the server puts a column that is added again, and no script can put it elsewhere.
    """
    mended = dict(after)
    for key, part in before.items():
        if key[0] != "column order" or key not in after or after[key] == part:
            continue
        wanted, found = _NAME.findall(part.definition), _NAME.findall(after[key].definition)
        orders = [_NAME.findall(state[key].definition) for state in between if key in state]
        stayed = [name for name in wanted if all(name in order for order in orders)]
        if sorted(wanted) == sorted(found) and found[: len(stayed)] == stayed:
            mended[key] = part
    return mended


def settled(definition: str) -> str:
    """An expression in the form in which it survives a dump: the server writes ``x IN ('a', 'b')`` on
    a varchar as a cast of the array, and reads that back as an array of casts."""
    start = 0
    while True:
        match = _CAST_ARRAY.search(definition, start)
        if match is None:
            return definition
        start = match.end()
        elements, end = _elements(definition, match.end())
        cast = re.compile(r"\)::([\w .\"]+(?:\(\d+(?:,\d+)?\))?)\[\]").match(definition, end)
        if elements and cast:
            inner = ", ".join(f"({e})::{cast[1]}" for e in elements)
            definition = f"{definition[: match.start()]}ARRAY[{inner}]{definition[cast.end() :]}"


def _elements(text: str, start: int) -> tuple[list[str], int]:
    """The elements of an array from ``start`` (behind its bracket), and where the text goes on after it."""
    elements: list[str] = []
    depth, begin, position = 0, start, start
    while position < len(text):
        quoted = _QUOTED.match(text, position)
        if quoted:
            position = quoted.end()
            continue
        char = text[position]
        if char in "([":
            depth += 1
        elif char == "," and depth == 0:
            elements.append(text[begin:position].strip())
            begin = position + 1
        elif char in ")]":
            if depth == 0:
                return [*elements, text[begin:position].strip()], position + 1
            depth -= 1
        position += 1
    return [], len(text)
