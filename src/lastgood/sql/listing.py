"""A schema as a listing that is equal exactly when the schema is, and its digest. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lastgood.domain.digest import digest


@dataclass(frozen=True)
class Part:
    """One object: ``parent`` is the relation it belongs to, ``""`` for none."""

    parent: str
    definition: str


Listing = Mapping[tuple[str, str], Part]
"""Objects by (kind, qualified name)."""


def fingerprint(listing: Listing) -> str:
    """``sha256:…`` of the listing."""
    return digest(to_plain(listing))


def to_plain(listing: Listing) -> list[list[str]]:
    """For JSON; ``from_plain`` makes a listing of it again."""
    return [[kind, part.parent, name, part.definition] for (kind, name), part in sorted(listing.items())]


def from_plain(rows: Iterable[Iterable[str]]) -> Listing:
    return {(kind, name): Part(parent, definition) for kind, parent, name, definition in rows}


def difference(wanted: Listing, found: Listing, *, usual: str = "", limit: int = 20) -> str:
    """How ``found`` differs, for people, one thing a line; ``""`` when equal. ``usual`` begins names of what
    lies where everything does, and goes without saying.

    Parts of a relation that is itself too much or missing go without saying.
    """
    lines: list[str] = []
    extra, missing = found.keys() - wanted.keys(), wanted.keys() - found.keys()
    gone = {name for kind, name in missing if not wanted[kind, name].parent}
    new = {name for kind, name in extra if not found[kind, name].parent}
    partial = {wanted[k].parent for k in missing} | {found[k].parent for k in extra}
    for key in sorted(extra | missing | (wanted.keys() & found.keys())):
        kind, name = key[0], key[1].removeprefix(usual)
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


def _first_difference(before: str, after: str) -> tuple[str, str]:
    """Both definitions, or of long ones the clauses that differ."""
    if len(before) + len(after) < 160:
        return f"'{before}'", f"'{after}'"
    old, new = before.split("; "), after.split("; ")
    return f"'{'; '.join(c for c in old if c not in new)}'", f"'{'; '.join(c for c in new if c not in old)}'"
