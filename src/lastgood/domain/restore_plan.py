"""What going back to a snapshot would do, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lastgood.domain.capture import Capture
from lastgood.domain.plan import Plan
from lastgood.domain.restore_point import Snapshot
from lastgood.domain.salvage import Neighbours, WritesSince


@dataclass(frozen=True)
class RestorePlan:
    """``called``: what people call what is in a table, by table and language."""

    plan: Plan
    capture: Capture
    snapshot: Snapshot
    writes: WritesSince
    called: Mapping[str, Mapping[str, str]]
    neighbours: Neighbours = field(default_factory=Neighbours)

    @property
    def costs(self) -> bool:
        """Something would be lost, or it is not known whether, or somebody stays with the failed database."""
        return not self.writes.complete or bool(self.writes.lost) or bool(self.neighbours.left)

    def name(self, table: str, language: str) -> str:
        """What a table is called in ``language``, the table's own name where that is not declared."""
        words = self.called.get(table, {})
        return words.get(language) or words.get("en") or next(iter(words.values()), table)
