"""Which restore point a way back goes to, and why not to another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lastgood.domain.digest import short
from lastgood.domain.errors import InvalidInput, NotReversible
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork


def came_from(unit: UnitOfWork, unit_id: UnitId, current: str) -> str:
    """The release that the unit was on before it was deployed to where it is; empty when unknown."""
    deploys = (r for r in unit.rollouts.list(unit_id, 200) if r.kind is PlanKind.DEPLOY)
    return next((r.base for r in deploys if r.target == current), "")


def choose_point(
    unit_id: UnitId,
    points: Sequence[RestorePoint],
    current: str,
    to: str = "",
    before: str = "",
    aside: Collection[str] = (),
) -> RestorePoint:
    """``points`` newest first. Without ``to``: ``before``, the release the unit came from, if that is a good
    one; else the newest good one that is older than where the unit is. Those set ``aside`` are passed over.

    A baseline is only taken by name: it was never verified, and may be an empty place.
    """
    if to:
        return _named(unit_id, points, to)
    older = _candidates(points, current, before)
    for point in older:
        if point.kind is not PointKind.BASELINE and point.release not in aside:
            return point
    raise _nowhere(unit_id, older)


def passed_over(
    points: Sequence[RestorePoint], current: str, before: str, aside: Collection[str]
) -> tuple[Message, ...]:
    """Why what would have been chosen is not."""
    template = N_("{point} ({release}) is passed over: it is set aside, see lastgood quarantine list")
    found = []
    for point in _candidates(points, current, before):
        if point.release not in aside:
            break
        found.append(Message(template, {"point": point.id, "release": short(point.release)}))
    return tuple(found)


def refuse_pruned(unit: UnitOfWork, unit_id: UnitId, points: Sequence[RestorePoint], to: str) -> None:
    """Raises NotReversible for a restore point that was pruned; its release may be kept by another one."""
    if not to or any(_is_named(point, to) for point in points):
        return
    for point in unit.points.list(unit_id, pruned=True):
        if _is_named(point, to):
            raise NotReversible(
                N_("restore point {point} was pruned at {at}: what it needs is not kept any more"),
                todo=N_("Choose another, see lastgood history {unit}; or deploy its commit {commit} again."),
                where=str(unit_id),
                point=point.id,
                at=f"{point.pruned_at:%Y-%m-%d %H:%M:%S}",
                unit=str(unit_id),
                commit=unit.releases.get(point.release).commit[:10] or "-",
            )


def _candidates(points: Sequence[RestorePoint], current: str, before: str) -> list[RestorePoint]:
    """Those older than ``current``, the one that the unit came from first, then the newest."""
    here = _place(points, current)
    older = [p for p in points[here + 1 :] if p.release != current]
    return sorted(older, key=lambda point: point.release != before)


def _place(points: Sequence[RestorePoint], current: str) -> int:
    """Where ``current`` stands among the points, -1 when it is none. A renewed one stands where the state is
    that it renews: what came after that one was left.
    """
    here = next((i for i, p in enumerate(points) if p.release == current), -1)
    renews = points[here].renews if here >= 0 else ""
    return next((i for i, p in enumerate(points) if renews and p.id == renews), here)


def _named(unit_id: UnitId, points: Sequence[RestorePoint], to: str) -> RestorePoint:
    for point in points:
        if _is_named(point, to):
            return point
    raise InvalidInput(
        N_("{unit} has no restore point {point}"),
        todo=N_("It has: {points}"),
        where=str(unit_id),
        unit=str(unit_id),
        point=to,
        points=", ".join(f"{p.id} ({short(p.release)})" for p in points[:5]) or "-",
    )


def _is_named(point: RestorePoint, to: str) -> bool:
    """By its id, or by its release or at least 6 digits of it."""
    wanted = to.removeprefix("sha256:")
    by_release = len(wanted) >= 6 and point.release.removeprefix("sha256:").startswith(wanted)
    return point.id == to or by_release


def _nowhere(unit_id: UnitId, older: Sequence[RestorePoint]) -> NotReversible:
    """Nothing is chosen by itself: all that is left is set aside, is a baseline, or there is nothing."""
    good = [point.id for point in older if point.kind is not PointKind.BASELINE]
    what, todo = (
        N_("{unit} has no restore point to go back to"),
        N_("A restore point is kept when a guard window ends well; see lastgood status {unit}."),
    )
    if good:
        what = N_("every older good state of {unit} is set aside: {point}")
        todo = N_("See lastgood quarantine list, and lift what is known to be good.")
    elif older:
        what = N_("{unit} has no older good state; only its baseline is left, which was never verified")
        todo = N_("If that is what you want, name it: lastgood rollback {unit} --to {point}")
    point = ", ".join(good[:3]) or next((p.id for p in older), "-")
    return NotReversible(what, todo=todo, where=str(unit_id), unit=str(unit_id), point=point)
