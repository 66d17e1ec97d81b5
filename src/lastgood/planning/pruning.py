"""Which restore points are pruned, and what failed attempts left: never what somebody still needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from lastgood.domain.restore_point import RestorePoint, Snapshot
from lastgood.domain.rollout import Rollout


def prunable(
    points: Sequence[RestorePoint], count: int, needed: Collection[str], aside: Collection[str]
) -> tuple[RestorePoint, ...]:
    """``points`` newest first; ``count`` releases stay, counted once however often they were verified.

    ``needed`` releases stay: what the unit is on, comes from, or has an open incident about. Those set
    ``aside`` stay too, without counting: nobody can go back to them, and nobody has looked into them yet.
    """
    kept: set[str] = set()
    found = []
    for point in points:
        if point.release in kept or point.release in aside:
            continue
        if len(kept) < count:
            kept.add(point.release)
        elif point.release not in needed:
            found.append(point)
    return tuple(found)


def outlived(
    rollouts: Iterable[Rollout], points: Sequence[RestorePoint], count: int, kept: Collection[str]
) -> tuple[str, ...]:
    """Releases that ``rollouts`` brought here, that are not ``kept``, and after which ``count`` other ones
    proved good: nobody looks into their containers any more. ``points`` newest first.
    """
    newest = list(dict.fromkeys(point.release for point in points))[:count]
    if not count or len(newest) < count:
        return ()
    since = min(point.created_at for point in points if point.release in newest)
    ended = (r for r in rollouts if r.finished_at is not None and r.finished_at < since)
    return tuple(dict.fromkeys(r.target for r in ended if r.target not in kept))


def outdated(
    snapshots: Sequence[Snapshot], before: datetime, needed: Collection[str], began: Iterable[datetime]
) -> tuple[Snapshot, ...]:
    """Of ``snapshots`` of one database, newest first, those taken ``before``: not the newest, which proofs
    and rehearsals load, not the ``needed`` ones, and none that a rollout which ``began`` may have taken.
    """
    first = min([before, *began])
    return tuple(s for s in snapshots[1:] if s.created_at < first and s.id not in needed)
