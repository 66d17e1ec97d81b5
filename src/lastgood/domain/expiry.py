"""Copies of customers' data that somebody may want gone once they are old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from lastgood.domain.restore_point import Snapshot
from lastgood.domain.unit import UnitId


class AsideKind(str, Enum):
    """``kept``: what a revert put aside; ``undo``: rows before and after, by which a migration is undone;
    ``conflicts``: rows that an undo left, with their values.
    """

    KEPT = "kept"
    UNDO = "undo"
    CONFLICTS = "conflicts"


@dataclass(frozen=True)
class Aside:
    """``rows`` of one table that lie in the database since ``at``, by ``number`` of its kind. ``returned``:
    they are in the table itself again.
    """

    kind: AsideKind
    number: int
    migration: str
    relation: str
    column: str
    rows: int
    at: datetime
    returned: bool = False


@dataclass(frozen=True)
class DatabaseExpiry:
    """What of one database is from ``before`` and needed by nothing that lastgood does."""

    resource: str
    before: datetime
    snapshots: Sequence[Snapshot] = ()
    aside: Sequence[Aside] = ()


@dataclass(frozen=True)
class Expiry:
    """Of the databases of ``unit``. ``done``: it is gone; else it is a plan."""

    unit: UnitId
    databases: Sequence[DatabaseExpiry]
    done: bool = False

    @property
    def empty(self) -> bool:
        return not any(found.snapshots or found.aside for found in self.databases)
