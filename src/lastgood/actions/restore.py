"""restore: a database back to a snapshot, with what was written since. It always asks a person (law 15)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lastgood.actions.abilities import neighbours_of, restores_of
from lastgood.actions.accepting import accept_plan
from lastgood.actions.captures import (
    Servers,
    captures_on,
    end_capture,
    reaching,
    snapshot_of,
    writes_of,
)
from lastgood.actions.context import Context
from lastgood.actions.deploy import refuse_busy
from lastgood.actions.heal import current_release
from lastgood.actions.needs import refuse_shape, releases_using
from lastgood.actions.renewing import with_valid_secrets
from lastgood.domain.audit import Phase
from lastgood.domain.capture import Capture
from lastgood.domain.errors import InvalidInput, NotReversible, Rejected
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Estimate, StepKind
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.restore_plan import RestorePlan
from lastgood.domain.rollout import Mark, Request, Rollout
from lastgood.domain.salvage import Neighbours, WritesSince
from lastgood.domain.unit import UnitId
from lastgood.planning.restoring import CopySource, accepting
from lastgood.planning.restoring import plan_restore as plan_steps


def plan_restore(context: Context, unit_id: UnitId, *, database: str = "", snapshot: str = "") -> RestorePlan:
    """What going back would do, and what was written since. Looks only.

    Raises NotReversible when no writes were kept, or when a unit needs a shape that the snapshot does not
    have; InvalidInput when it is not said which database; DriverError with what is in the way on the server.
    """
    release = current_release(context, unit_id)
    capture = _choose(context, release, database, snapshot)
    with context.store.read() as unit:
        refuse_shape(unit, capture)
        users = releases_using(unit, capture.resource)
        by = reaching(unit, release, capture)
    target = _database(by, capture)
    kept = snapshot_of(context.store, capture)
    asking = with_valid_secrets(context.store, context.vault, by)
    restores_of(context.drivers, asking, target).refuse_restore(kept, target.keep)
    writes = writes_of(context.drivers, asking, target, kept)
    knows = neighbours_of(context.drivers, asking, target)
    neighbours = knows.neighbours(kept) if knows else Neighbours()

    def timings(kind: StepKind) -> Sequence[float]:
        with context.store.read() as unit:
            return unit.journal.seconds(unit_id, kind)

    source = CopySource(_loaded(context, capture), writes.warm, _was_warm(context, capture))
    plan = plan_steps(release, target, capture, users, timings, source, by.digest)
    plan = replace(plan, notes=(*plan.notes, *neighbours.notes))
    return RestorePlan(plan, capture, kept, writes, target.called, neighbours)


def restore(
    context: Context,
    unit_id: UnitId,
    *,
    database: str = "",
    snapshot: str = "",
    reason: str = "",
    accept_loss: bool = False,
) -> Rollout:
    """Plan, count again and accept. Raises NotReversible where something would be lost, or is not known, and
    that was not accepted; and what ``plan_restore`` and ``accept_plan`` raise.
    """
    refuse_busy(context, unit_id)
    planned = plan_restore(context, unit_id, database=database, snapshot=snapshot)
    if planned.costs and not accept_loss:
        raise _would_lose(unit_id, planned)
    request = Request(reason or "restore", context.actor.name, planned.capture.resource, context.actor.name,
                      context.clock.now())  # fmt: skip
    data = {"snapshot": planned.snapshot.id, "cut": planned.snapshot.cut, **noted(planned.writes),
            "left": [str(one) for one in planned.neighbours.left]}  # fmt: skip
    release = current_release(context, unit_id)
    plan = accepting(planned.plan, planned.writes, planned.neighbours.left)
    return accept_plan(context, plan, release, request, data=data)


def forget(context: Context, unit_id: UnitId, *, database: str = "", reason: str) -> Capture:
    """End a capture by hand: the server keeps no more for it, and nobody restores with later writes.

    Raises InvalidInput without a reason, NotReversible when none is open, DriverError when the server can't
    be told.
    """
    if not reason.strip():
        raise InvalidInput(
            N_("ending a capture needs a reason: what was written since is then lost to a restore"),
            todo=N_('Say why nobody will restore: --reason "the data is right as it is"'),
            where=str(unit_id),
        )
    refuse_busy(context, unit_id)
    release = current_release(context, unit_id)
    capture = _choose(context, release, database, "")
    with context.store.read() as unit:
        release = reaching(unit, release, capture)
    because = Message("{text}", {"text": reason})
    why = end_capture(
        Servers(context.store, context.drivers, context.vault), release, capture, because, context.clock.now()
    )
    if why is not None:
        raise Rejected(
            N_("the server still keeps the writes of {resource}: {why}"),
            todo=N_("Mend that, then try again; lastgood status {unit} shows how much it keeps."),
            where=capture.resource, resource=capture.resource, why=why, unit=str(unit_id),
        )  # fmt: skip
    with context.store.write() as unit:
        data = {"forgotten": capture.snapshot, "resource": capture.resource}
        context.audit(unit, "restore forget", str(unit_id), Phase.OUTCOME, reason, data)
    return capture


def writes_kept(context: Context, unit_id: UnitId) -> Sequence[WritesSince]:
    """What was written since the cuts of the captures that are open on the unit's databases; counted now."""
    release = current_release(context, unit_id)
    with context.store.read() as unit:
        found = [(capture, reaching(unit, release, capture)) for capture in captures_on(unit, release)]
    counted = []
    for capture, by in found:
        asking = with_valid_secrets(context.store, context.vault, by)
        database = _database(by, capture)
        counted.append(writes_of(context.drivers, asking, database, snapshot_of(context.store, capture)))
    return counted


def noted(writes: WritesSince) -> dict[str, object]:
    """For the audit: counts by table."""
    counts = {w.table: [w.inserted, w.updated, w.deleted] for w in writes.tables if w.rows}
    return {"written": counts, "complete": writes.complete, "lost": [w.table for w in writes.lost]}


def _loaded(context: Context, capture: Capture) -> Estimate:
    """The rehearsal loaded this very snapshot; one before the plan made such a copy, too."""
    with context.store.read() as unit:
        marks = {
            e.mark: e.at
            for e in unit.journal.entries(capture.rollout)
            if e.step == f"rehearse:{capture.resource}"
        }
        rehearsed = unit.rollouts.get(capture.rollout).plan.rehearsed
    whole = next((r for r in rehearsed if r.resource == capture.resource and not r.sample), None)
    if whole is not None:
        return Estimate(whole.seconds, 1)
    if Mark.INTENT in marks and Mark.DONE in marks:
        return Estimate((marks[Mark.DONE] - marks[Mark.INTENT]).total_seconds(), 1)
    return Estimate()


def _was_warm(context: Context, capture: Capture) -> bool:
    with context.store.read() as unit:
        last = unit.journal.last(capture.rollout, f"warm:{capture.resource}")
    return last is not None and last.mark is Mark.DONE and bool(last.data.get("warm"))


def _choose(context: Context, release: Release, database: str, snapshot: str) -> Capture:
    with context.store.read() as unit:
        found = captures_on(unit, release)
    named = [c for c in found if database in ("", c.resource, c.resource.partition("@")[0])]
    named = [c for c in named if snapshot in ("", c.snapshot)]
    resources = dict.fromkeys(c.resource for c in named)
    if len(resources) > 1:
        raise InvalidInput(
            N_("{unit} uses several databases that can be restored: {resources}"),
            todo=N_("Name one of them: --database NAME"),
            where=str(release.unit), unit=str(release.unit), resources=", ".join(resources),
        )  # fmt: skip
    if named:
        return named[0]
    raise NotReversible(
        N_("no writes are being kept of the databases of {unit}: nothing can be restored with what was "
           "written since"),
        todo=N_(
            "A change that moves data keeps them until it is verified good, where the server can. The dumps "
            "are in drivers/DRIVER/snapshots of the state directory, or where 'resident' says."
        ),
        where=str(release.unit),
        unit=str(release.unit),
    )  # fmt: skip


def _database(release: Release, capture: Capture) -> DatabaseTarget:
    return next(d for d in release.databases if d.resource == capture.resource)


def _would_lose(unit_id: UnitId, planned: RestorePlan) -> NotReversible:
    writes, left = planned.writes, "; ".join(str(one) for one in planned.neighbours.left)
    lost = ", ".join(f"{w.table} ({w.rows})" for w in writes.lost)
    unknown = "; ".join(str(reason) for reason in writes.reasons)
    parts = {
        (True, False): N_("restoring would leave rows in the failed database only: {lost}"),
        (False, True): N_("it is not known what was written since: {unknown}"),
        (True, True): N_("restoring would leave rows in the failed database only: {lost}; and it is not "
                         "known what else was written since: {unknown}"),
    }  # fmt: skip
    words: dict[str, Any] = {"lost": lost, "unknown": unknown or "-", "left": left}
    what = parts.get((bool(lost), not writes.complete), "")
    if left and what:
        words["cost"] = Message(what, dict(words))
        what = N_("{cost}; and {left}")
    return NotReversible(
        what or N_("not everybody would follow the restored database: {left}"),
        todo=N_("Look at it: lastgood restore {unit}. If that is the price, add --accept-loss."),
        where=str(unit_id), unit=str(unit_id), **words,
    )  # fmt: skip
