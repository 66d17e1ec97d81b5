"""Changes of rows as a server's log tells them, whichever server it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

Row = Mapping[str, str | None]


class Kind(str, Enum):
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True)
class Relation:
    """A table as it was when the change was made; ``key``: the columns of its replica identity.

    ``oid`` stays the same when it is renamed. Rows of a PostgreSQL partition are those of the topmost table.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    oid: int = 0


@dataclass(frozen=True)
class Change:
    """One row. Values are the server's text form, None is NULL. ``old``: the key before (for an update only
    when it changed; empty for an insert). ``new`` lacks columns whose large value did not change.
    ``before``: the whole row before, where the log has it. ``unchecked``: foreign keys did not act.
    ``apart``: what was emptied has nothing but the name of the table at the cut, which a migration dropped.
    """

    kind: Kind
    relation: Relation
    old: Row = field(default_factory=dict)
    new: Row = field(default_factory=dict)
    before: Row = field(default_factory=dict)
    unchecked: bool = False
    apart: bool = False


@dataclass(frozen=True)
class Transaction:
    """A committed one, whole. ``end`` is the log position after its commit, ``seconds`` since the epoch.

    ``own``: a migration or a revert of lastgood; its rows are nobody else's writes.
    """

    xid: int
    end: str
    seconds: float
    changes: tuple[Change, ...]
    own: bool = False
