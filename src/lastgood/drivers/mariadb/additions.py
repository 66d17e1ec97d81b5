"""What a migration may add without being in the way of code that knows nothing of it."""

from __future__ import annotations

import itertools
import re

from lastgood.drivers.mariadb.fingerprint import COLUMN, EVENT, INDEX, ORDER, TABLE
from lastgood.drivers.mariadb.scan import split
from lastgood.sql.additions import only_added
from lastgood.sql.listing import Listing

_PLAIN_INDEX = re.compile(
    r"(?:FULLTEXT )?KEY `(?:[^`]|``)+` \((?:`(?:[^`]|``)+`(?:\(\d+\))?(?: (?:ASC|DESC))?,?)+\)"
    r"(?: USING \w+)?"
)


def additive(before: Listing, after: Listing) -> bool:
    """Columns that may be left out came to the end of old tables, and indexes that refuse nothing.

    An index that went may be named in a query (``FORCE INDEX``), so nothing may go. An event runs by itself.
    """
    return (
        only_added(
            before,
            after,
            tables=(TABLE,),
            met=lambda kind, part: kind != ORDER,
            apart=lambda kind: kind != EVENT,
            beside=lambda kind, part, in_table: in_table and _harmless(kind, part.definition),
        )
        and _at_the_end(before, after)
    )  # fmt: skip


def _at_the_end(before: Listing, after: Listing) -> bool:
    """Old columns stand where they stood: some code reads them by number."""
    return all(
        _begins(after[key].definition, part.definition)
        for key, part in before.items()
        if key[0] == ORDER and key in after
    )


def _begins(order: str, wanted: str) -> bool:
    return order == wanted or order.startswith(f"{wanted}, ")


def _harmless(kind: str, definition: str) -> bool:
    if kind == COLUMN:
        return _may_be_left_out(definition)
    if kind == INDEX:
        return _PLAIN_INDEX.fullmatch(definition) is not None
    return kind == ORDER


def _may_be_left_out(column: str) -> bool:
    """A computed one may fail, and a rule may refuse its own default."""
    words = split(column, "")[0].words
    if {"CHECK", "GENERATED"} & set(words):
        return False
    return "DEFAULT" in words or ("NOT", "NULL") not in itertools.pairwise(words)
