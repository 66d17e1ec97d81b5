"""A schema as a listing that is equal exactly when the schema is, and its digest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lastgood.domain.digest import digest
from lastgood.drivers.postgresql.catalogue import QUERIES, WITH
from lastgood.drivers.postgresql.connection import Connection

_CAST_ARRAY = re.compile(r"\(ARRAY\[")
_NAME = re.compile(r'"(?:[^"]|"")*"|[^", ]+')
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


@dataclass(frozen=True)
class Part:
    """One object: ``parent`` is the relation it belongs to, ``""`` for none."""

    parent: str
    definition: str


Listing = Mapping[tuple[str, str], Part]
"""Objects by (kind, qualified name)."""


def read_listing(connection: Connection) -> Listing:
    """Everything of the schema but lastgood's own; inside the caller's transaction."""
    connection.execute("SET LOCAL search_path = pg_catalog")
    listing: dict[tuple[str, str], Part] = {}
    for query in QUERIES.values():
        for kind, parent, name, definition in connection.execute(WITH + query):
            listing[kind, name] = Part(parent, settled(definition or ""))
    return listing


def fingerprint(listing: Listing) -> str:
    """``sha256:…`` of the listing."""
    return digest(to_plain(listing))


def to_plain(listing: Listing) -> list[list[str]]:
    """For JSON; ``from_plain`` makes a listing of it again."""
    return [[kind, part.parent, name, part.definition] for (kind, name), part in sorted(listing.items())]


def from_plain(rows: Iterable[Iterable[str]]) -> Listing:
    return {(kind, name): Part(parent, definition) for kind, parent, name, definition in rows}


def difference(wanted: Listing, found: Listing, *, limit: int = 20) -> str:
    """How ``found`` differs, for people, one thing a line; ``""`` when equal.

    Parts of a relation that is itself too much or missing go without saying.
    """
    lines: list[str] = []
    extra, missing = found.keys() - wanted.keys(), wanted.keys() - found.keys()
    gone = {name for kind, name in missing if not wanted[kind, name].parent}
    new = {name for kind, name in extra if not found[kind, name].parent}
    partial = {wanted[k].parent for k in missing} | {found[k].parent for k in extra}
    for key in sorted(extra | missing | (wanted.keys() & found.keys())):
        kind, name = key[0], _short(key[1])
        if key in extra and found[key].parent not in new:
            lines.append(f"{kind} {name} was not removed")
        elif key in missing and wanted[key].parent not in gone:
            lines.append(f"{kind} {name} was not brought back")
        elif key in wanted and key in found and wanted[key] != found[key]:
            if kind == "column order" and found[key].parent in partial:
                continue  # A column more or less changes the order too, and is named already.
            before, after = _first_difference(wanted[key].definition, found[key].definition)
            lines.append(f"{kind} {name} is different: it was {before}, and is {after}")
    if len(lines) > limit:
        lines[limit:] = [f"… and {len(lines) - limit} more"]
    return "\n".join(lines)


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


def _first_difference(before: str, after: str) -> tuple[str, str]:
    """Both definitions, or of long ones the clauses that differ."""
    if len(before) + len(after) < 160:
        return f"'{before}'", f"'{after}'"
    old, new = before.split("; "), after.split("; ")
    return f"'{'; '.join(c for c in old if c not in new)}'", f"'{'; '.join(c for c in new if c not in old)}'"


def _short(name: str) -> str:
    """``public`` goes without saying."""
    return name.removeprefix("public.")
