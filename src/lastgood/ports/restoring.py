"""A database that goes back to a snapshot and keeps what was written since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from lastgood.domain.message import Message
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Neighbours, Salvage, Swapped, WritesSince


@runtime_checkable
class Captures(Protocol):
    """Keeps what is written after the cut of a snapshot, by the server's own log."""

    def capture_obstacle(self) -> Message | None:
        """Why a capture can't be opened here (log level, rights, no bound on what the server would keep);
        None when it can. Looks only.
        """

    def capture(self, key: str) -> Snapshot:
        """As ``Snapshots.snapshot``, and from exactly its cut on every write is kept until
        ``end_capture``. At most one capture of a resource is open: an older one is ended once this one
        is whole, and stays when it fails.

        Raises Rejected with the obstacle; no snapshot is taken then.
        """

    def writes_since(self, snapshot: Snapshot, keep: Sequence[str]) -> WritesSince:
        """Counted now, nothing consumed. ``keep``: tables that a restore would carry over, empty for all."""

    def refuse_lost(self, snapshot: Snapshot) -> None:
        """Raises Rejected when writes since the cut are not kept any more. Looks only, and counts nothing."""

    def end_capture(self, snapshot: Snapshot) -> None:
        """The server keeps nothing for it any more; one that is not open is left alone."""


@runtime_checkable
class Restores(Protocol):
    """Goes back to a snapshot under which a capture was opened. Calls with the same ``key`` are one restore:
    each may be repeated after a crash and goes on where it stopped.
    """

    def refuse_restore(self, snapshot: Snapshot, keep: Sequence[str]) -> None:
        """Raises Rejected with what is in the way: room for the copy, rights, a file that is not whole,
        ``keep`` not closed over foreign keys, sessions or objects that can't be carried over, a pooler that
        can't be paused. A database that a crash of a restore left closed is opened, and its poolers resumed.
        """

    def prepare_copy(self, snapshot: Snapshot, key: str) -> str:
        """A database beside the live one that holds the snapshot whole; returns its name."""

    def carry_over(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Salvage:
        """Bring what was captured up to now into the copy, the live database in full use. May be repeated:
        only what came since is carried, each write exactly once. A database that a crash left closed is
        opened. Once swapped under ``key``, says what was carried.
        """

    def swap(self, snapshot: Snapshot, key: str, keep: Sequence[str]) -> Swapped:
        """Close the live database, carry over the rest, put sequences past every number handed out, swap the
        names in one transaction, open. The failed database stays under another name. Once done under
        ``key``, says the same again. Raises Rejected with the live database open as it was.
        """

    def abandon(self, key: str) -> bool:
        """Drop the copy of a restore that was not swapped, and open what a crash left closed. True when the
        names are swapped already: nothing was abandoned, and ``swap`` says what was done.
        """


@runtime_checkable
class HasNeighbours(Protocol):
    """Knows who else has to do with the database, beside those who use it."""

    def neighbours(self, snapshot: Snapshot) -> Neighbours:
        """As a swap would find them now. Looks only; raises DriverError."""
