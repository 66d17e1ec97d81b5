"""What a server keeps of the writes after a snapshot's cut, as we know it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from lastgood.domain.message import Message
from lastgood.domain.release import DatabaseTarget


@dataclass(frozen=True)
class Capture:
    """Since ``opened_at`` the server of ``resource`` keeps every write after the cut of ``snapshot``.

    ``applied`` are the migrations the database had at the cut, oldest first; ``moving`` those that
    ``rollout`` then brought and that no script takes back. ``unit`` is where it was opened. It costs the
    server room until ``ended_at``.
    """

    snapshot: str
    resource: str
    unit: str
    rollout: str
    opened_at: datetime
    applied: tuple[str, ...] = ()
    moving: tuple[str, ...] = ()
    ended_at: datetime | None = None
    ended_because: Message = field(default_factory=lambda: Message(""))

    @property
    def id(self) -> str:
        return self.snapshot

    def lacks(self, database: DatabaseTarget) -> tuple[str, ...]:
        """Migrations that a release needs and that the database does not have once it is back at the cut."""
        return tuple(m.name for m in database.migrations if m.name not in self.applied)


@dataclass(frozen=True)
class DataLeft:
    """A database that is still as ``name`` left it, although its unit went back. ``since`` is the cut.

    ``restorable``: what was written since can be carried over. ``path`` is the file of the snapshot.
    """

    resource: str
    name: str
    snapshot: str
    since: datetime
    path: str
    restorable: bool
