"""Why a row that a migration and the shop both wrote could not be carried over, in the words of the list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

Values = Mapping[str, str | None]

WHOLE = ""
"""In place of a column: the row as a whole, its values as JSON."""

BOTH = "the migration and the shop both changed it"
INSERTED = "the migration inserted this row, and the shop changed it"
DELETED = "the migration deleted this row, and the shop inserted it again"
FOLLOWS = "it follows a write that could not be carried over"
NO_ROW = "the shop changed this row, which is not in the copy"
NO_COLUMN = "the old shape has no such column"
NO_TABLE = "the old shape has no such table"
ORPHAN = "it refers to a row of {table} which is not in the copy"
REFERRED = "rows of {table} still refer to it"
APART = "the application emptied a table that took the place of this one: its rows of the cut stay"
ROUNDED = "the old shape can't hold the value"


@dataclass(frozen=True)
class Conflict:
    """Values at the cut, of the migration and of the shop: a column's text, or a row as JSON."""

    at_cut: str | None
    migration: str | None
    shop: str | None
    reason: str


def as_json(values: Values | None) -> str | None:
    return None if values is None else json.dumps(dict(values), ensure_ascii=False)
