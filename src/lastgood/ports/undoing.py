"""Undoing the rows that a migration changed, where nobody changed them since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from lastgood.domain.message import Message
from lastgood.ports.drivers import MigrationScript


@dataclass(frozen=True)
class Undone:
    """Rows that are as before, and conflicts: rows that somebody changed since. By table, without zeros."""

    rows: Mapping[str, int] = field(default_factory=dict)
    conflicts: Mapping[str, int] = field(default_factory=dict)


@runtime_checkable
class UndoesRows(Protocol):
    """Records what a migration does to each row when its revert.sql says ``-- lastgood: undo rows``, and
    undoes it in ``Migrates.revert``. What it can't undo is listed in the database, with the values.
    """

    def undo_obstacle(self, migration: MigrationScript) -> Message | None:
        """Why its rows could not be undone, as the database is now; None also when it does not ask for it."""

    def undone(self, migration: MigrationScript, key: str) -> Undone:
        """What ``revert`` under ``key`` undid, and what it had to leave."""
