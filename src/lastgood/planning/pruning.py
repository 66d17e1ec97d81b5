"""Which restore points are pruned: all but the newest, and never one that somebody still needs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lastgood.domain.restore_point import RestorePoint


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
