"""A database that can have the copy of a snapshot stand by, so that going back loads nothing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lastgood.domain.restore_point import Snapshot
from lastgood.domain.warm_copy import CopyRoom, WarmCopy


@runtime_checkable
class KeepsWarm(Protocol):
    """For snapshots under which a capture is open. ``Captures.writes_since`` tells what stands by, too;
    ``Restores.prepare_copy`` takes it where it is usable, ``Captures.end_capture`` drops it.
    """

    def copy_room(self) -> CopyRoom:
        """What decides whether it is worth it and fits. Looks only."""

    def warm_copy(self, snapshot: Snapshot) -> WarmCopy:
        """Load ``snapshot`` into a database of its own, compare it with what was seen at the cut, and close
        it to everybody. Repeated, it answers with the one that stands by; one that was touched is made anew.

        Raises Rejected when there is no room or the load fails; nothing of it stays then.
        """

    def standing_by(self, snapshot: Snapshot) -> WarmCopy | None:
        """None when nothing does: it was never made, was taken, or somebody dropped it. Looks only."""
