"""What was written after a cut, and what became of it when the database went back to that cut (law 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lastgood.domain.message import Message
from lastgood.domain.warm_copy import WarmCopy


@dataclass(frozen=True)
class TableWrites:
    """Rows of one table written since a cut by anybody but lastgood's migrations, each row counted once.

    ``table`` is ``orders``, or ``schema.table`` outside ``public``. ``kept``: a restore carries them over.
    """

    table: str
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    kept: bool = True

    @property
    def rows(self) -> int:
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class WritesSince:
    """``complete``: every write since the cut is in ``tables``. If not, ``reasons`` say what is unknown
    (no capture was open, its slot was lost, tables without a key): that is inconclusive, not zero (law 4).

    ``position`` is the server's log position up to which was looked, ``held`` the bytes of log that the
    server keeps for it. ``warm`` is the copy that stands by for a restore, None where none does.
    """

    snapshot: str
    complete: bool
    tables: tuple[TableWrites, ...] = ()
    reasons: tuple[Message, ...] = ()
    position: str = ""
    held: int = 0
    warm: WarmCopy | None = None

    @property
    def lost(self) -> tuple[TableWrites, ...]:
        """Written tables that a restore would leave in the failed database only."""
        return tuple(table for table in self.tables if table.rows and not table.kept)


@dataclass(frozen=True)
class Salvage:
    """Rows carried into the copy so far, by table; ``conflicts`` by table: rows that could not be, each kept
    with its values and the reason in the table ``lastgood.conflicts`` of the copy.

    ``position``: the log position up to which writes were carried over.
    """

    carried: Mapping[str, int] = field(default_factory=dict)
    conflicts: Mapping[str, int] = field(default_factory=dict)
    position: str = ""


@dataclass(frozen=True)
class Swapped:
    """The copy has the name of the live database. ``failed`` is the name that this one has now.

    ``fence_seconds``: nobody could write, ``swap_seconds`` of that were the renames alone. ``notes``: what is
    left to do by hand.
    """

    failed: str
    salvage: Salvage
    fence_seconds: float = 0.0
    swap_seconds: float = 0.0
    notes: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Neighbours:
    """Who else has to do with a database that is to go back: poolers, replicas, readers of its log.

    ``notes`` is what a person should know of them. ``left``: who stays with the failed database and gets
    nothing of the restored one, one by one; each has to be accepted like a loss.
    """

    notes: tuple[Message, ...] = ()
    left: tuple[Message, ...] = ()
