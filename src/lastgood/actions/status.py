"""status, history, show, follow: what is known, with the time of the look (law 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from lastgood.actions.captures import captures_on, data_left
from lastgood.actions.content import missing_content
from lastgood.actions.context import Context
from lastgood.actions.following import follow_units
from lastgood.actions.images import left_to_engine
from lastgood.actions.points import came_from, choose_point
from lastgood.actions.renewing import renewal_of, revoked_in
from lastgood.actions.set_aside import releases_aside
from lastgood.domain.audit import AuditRecord
from lastgood.domain.errors import DriverError, NotReversible
from lastgood.domain.incident import Incident
from lastgood.domain.message import Message
from lastgood.domain.plan import Estimate, PlanKind, StepKind
from lastgood.domain.quarantine import first_holding
from lastgood.domain.release import Release
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.rollout import Rollout, RolloutState
from lastgood.domain.status import Progress, UnitStatus, WayBack
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork

FOLLOW_SECONDS = 0.1
"""Between looks while following; a look is one small query."""
COLD = (
    StepKind.HOLD_IMAGE,
    StepKind.START_GENERATION,
    StepKind.SHIFT_TRAFFIC,
    StepKind.SWITCH_WORKERS,
    StepKind.SWITCH_FILES,
)
WARM = (StepKind.SHIFT_TRAFFIC,)


def unit_statuses(context: Context, watched: bool, only: UnitId | None = None) -> Sequence[UnitStatus]:
    """Every unit that was ever touched; ``watched``: a runner is alive."""
    sound: set[str] = set()
    with context.store.read() as unit:
        known = [only] if only else sorted(unit.releases.units())
        held = _in_changes(unit)
        return [replace(_status(context, unit, u, watched, sound), **held.get(u, {})) for u in known]


def _in_changes(unit: UnitOfWork) -> Mapping[UnitId, dict[str, Any]]:
    """Units of open changes: which one, and whether their turn is still to come."""
    return {
        one.unit: {"change": change.id, "waiting": one.forward is None}
        for change in unit.changes.open()
        for one in follow_units(unit, change).values()
    }


def _status(
    context: Context, unit: UnitOfWork, unit_id: UnitId, watched: bool, sound: set[str]
) -> UnitStatus:
    current = unit.releases.current(unit_id)
    release = unit.releases.get(current) if current else None
    newest = next(iter(unit.rollouts.list(unit_id, limit=1)), None)
    frozen = next((str(f.reason) for f in unit.incidents.freezes(unit_id)), "")
    incident = next((i.id for i in unit.incidents.list(unit_id) if i.closed_at is None), "")
    aside = first_holding(unit.quarantine.list(), release) if release else None
    last_sample = None
    if newest is not None and newest.state.is_open:
        since = context.clock.now() - timedelta(days=30)
        last_sample = max((s.at for s in unit.samples.list(newest.id, since)), default=newest.created_at)
    return UnitStatus(
        unit_id, current, release.commit if release else "", newest.finished_at if newest else None, newest,
        _way_back(context, unit, unit_id, release, newest, sound), frozen, incident, watched, last_sample,
        context.clock.now(), (aside.incident or aside.id) if aside else "",
        revoked=tuple(r.secret.name for r in revoked_in(unit, release)) if release else (),
        **_databases(unit, release),
    )  # fmt: skip


def _databases(unit: UnitOfWork, release: Release | None) -> dict[str, Any]:
    """What is kept of their writes, what is not as it was released, and what failed and is set aside."""
    if release is None:
        return {}
    captures = tuple(captures_on(unit, release))
    resources = {d.resource for d in release.databases} | {c.resource for c in captures}
    failed = tuple(q for q in unit.quarantine.list() if q.resource in resources)
    return {
        "captures": captures,
        "left": data_left(unit, release),
        "failed": failed,
    }


def _way_back(
    context: Context,
    unit: UnitOfWork,
    unit_id: UnitId,
    release: Release | None,
    newest: Rollout | None,
    sound: set[str],
) -> WayBack | None:
    deploying = _deploying(newest)
    point = way_back_point(unit, unit_id, release.digest if release else "")
    if point is None:
        return None
    renewal = renewal_of(unit, unit.releases.get(point.release), context.vault)
    target = renewal.release
    warm = deploying is not None and deploying.state is RolloutState.GUARDING and not renewal.changes
    missing_secrets = tuple(one.name for one in renewal.lacking)
    missing = missing_content(context, target, sound)
    lacking, unseen = _in_engine(context, target)
    estimate = _estimate(unit, unit_id, WARM if warm else COLD)
    kept, proven_at = _copies(unit, release)
    return WayBack(
        point.id, target.digest, point.kind.value, warm, len(missing) + lacking, estimate, point.created_at,
        kept, proven_at, unseen, tuple(one.name for one in renewal.replaced if one.new), missing_secrets,
    )  # fmt: skip


def _in_engine(context: Context, release: Release) -> tuple[int, Message | None]:
    """How many images are missing that the engine alone keeps, and why it could not be asked."""
    try:
        return len(left_to_engine(context.drivers, release)), None
    except DriverError as error:
        if error.own_state:
            raise
        return 0, error.what


def way_back_point(unit: UnitOfWork, unit_id: UnitId, current: str) -> RestorePoint | None:
    """Where the unit would go back to from ``current``, or from the deploy that is open."""
    points = unit.points.list(unit_id)
    deploying = _deploying(next(iter(unit.rollouts.list(unit_id, limit=1)), None))
    if deploying is not None:
        return next((p for p in points if p.release == deploying.base), None)
    return _good_or_baseline(unit, unit_id, points, current)


def _deploying(newest: Rollout | None) -> Rollout | None:
    return newest if newest and newest.state.is_open and newest.kind is PlanKind.DEPLOY else None


def _copies(unit: UnitOfWork, release: Release | None) -> tuple[int, datetime | None]:
    """How many databases have a snapshot, and the oldest proof of the newest ones; None: one has none."""
    kept = [unit.points.snapshots(d.resource)[:1] for d in (release.databases if release else ())]
    proofs = [snapshot.proven_at for newest in kept for snapshot in newest]
    known = [proven_at for proven_at in proofs if proven_at is not None]
    return len(proofs), min(known) if known and len(known) == len(proofs) else None


def _good_or_baseline(
    unit: UnitOfWork, unit_id: UnitId, points: Sequence[RestorePoint], current: str
) -> RestorePoint | None:
    """What ``rollback`` would choose; else the baseline, which it takes only by name."""
    before, aside = came_from(unit, unit_id, current), releases_aside(unit, points)
    try:
        return choose_point(unit_id, points, current, before=before, aside=aside)
    except NotReversible:
        return next((p for p in points if p.kind is PointKind.BASELINE and p.release != current), None)


def _estimate(unit: UnitOfWork, unit_id: UnitId, kinds: Sequence[StepKind]) -> Estimate:
    """Medians of earlier steps on this unit, summed; the least number of measurements counts."""
    total, least = 0.0, 0
    for kind in kinds:
        known = sorted(unit.journal.seconds(unit_id, kind))
        if known:
            total += known[len(known) // 2]
            least = len(known) if least == 0 else min(least, len(known))
    return Estimate(total, least) if least else Estimate()


def history(
    context: Context, unit_id: UnitId | None, limit: int
) -> tuple[Sequence[Rollout], Sequence[RestorePoint]]:
    """Rollouts and restore points, newest first."""
    with context.store.read() as unit:
        points = unit.points.list(unit_id) if unit_id else ()
        return unit.rollouts.list(unit_id, limit), points


def show(context: Context, rollout_id: str) -> tuple[Progress, Incident | None, Sequence[Rollout]]:
    """One rollout with its journal and samples, its incident, and the rollbacks of it."""
    progress = look(context, rollout_id)
    unit_id = progress.rollout.unit
    with context.store.read() as unit:
        related = [r for r in unit.rollouts.list(unit_id, 200) if r.undoes == rollout_id]
        wanted = progress.rollout.incident or f"in-{rollout_id}"
        incident = next((i for i in unit.incidents.list(unit_id, 200) if i.id == wanted), None)
    return progress, incident, related


def look(
    context: Context, rollout_id: str, after: int = 0, samples_after: datetime | None = None
) -> Progress:
    """What is new since a journal sequence and a sample time. Raises InvalidInput when unknown."""
    with context.store.read() as unit:
        rollout = unit.rollouts.get(rollout_id)
        entries = tuple(unit.journal.entries(rollout_id, after))
        samples = tuple(unit.samples.list(rollout_id, samples_after))
    return Progress(rollout, entries, samples)


def follow(context: Context, rollout_id: str, wanted: Callable[[Rollout], bool]) -> Iterator[Progress]:
    """Yield what is new until ``wanted`` says that the caller has seen enough; goes on with the way back.

    Stopping to follow stops nothing but the following.
    """
    after, samples_after, current = 0, None, rollout_id
    while True:
        progress = look(context, current, after, samples_after)
        after = progress.entries[-1].sequence if progress.entries else after
        samples_after = progress.samples[-1].at if progress.samples else samples_after
        yield progress
        rollout = progress.rollout
        if rollout.state is RolloutState.RETURNED:
            after, samples_after, current = 0, None, f"{rollout.id}-back"
            continue
        if not rollout.state.is_open or wanted(rollout):
            return
        context.clock.sleep(FOLLOW_SECONDS)


def audit_records(context: Context, subject: str, limit: int) -> Sequence[AuditRecord]:
    with context.store.read() as unit:
        return unit.audit.list(subject, limit)


def first_broken_record(context: Context) -> AuditRecord | None:
    """The first link of the audit that does not follow, None when the chain is whole."""
    with context.store.read() as unit:
        return unit.audit.first_broken()
