"""rollback: back to a restore point. Needs no estate, no Git host, nothing that may be down (law 2)."""

from __future__ import annotations

from dataclasses import replace

from lastgood.actions.accepting import accept_plan
from lastgood.actions.captures import data_left, left_notes
from lastgood.actions.content import missing_content
from lastgood.actions.context import Context
from lastgood.actions.holding import keeper, stop_change, stopped_with, unit_lock
from lastgood.actions.images import can_start
from lastgood.actions.plan_change import move_between
from lastgood.actions.points import came_from, choose_point, passed_over, refuse_pruned
from lastgood.actions.rehearsing import with_others
from lastgood.actions.renewing import refuse_lacking, renewal_of
from lastgood.actions.set_aside import refuse_quarantined, releases_aside
from lastgood.domain.audit import Phase
from lastgood.domain.change import Change, is_change
from lastgood.domain.digest import short
from lastgood.domain.errors import Conflict, NotReversible
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import Plan, PlanKind
from lastgood.domain.release import Release
from lastgood.domain.restore_point import RestorePoint
from lastgood.domain.rollout import Request, Rollout, StopRequest
from lastgood.domain.unit import UnitId
from lastgood.planning.contracting import refuse_contracted
from lastgood.planning.moves import plan_rollback
from lastgood.planning.renewal import Renewal
from lastgood.ports.persistence import UnitOfWork


def rollback(context: Context, unit_id: UnitId, *, to: str = "", reason: str = "") -> str:
    """Returns the id of the rollout to follow: an open deploy that is told to go back, or a new rollback.

    ``to`` is a restore point or a release (or its prefix); empty: the last good state before this one. Raises
    NotReversible when there is no restore point or no valid version of a revoked secret, Conflict when
    another way back is at work.
    """
    with context.store.write() as unit:
        holder = unit.locks.holder(unit_lock(unit_id))
        if is_change(holder):
            _refuse_going_back(unit.changes.get(holder), unit_id)
        elif holder:
            working = unit.rollouts.get(holder)
            if working.unit != unit_id:
                raise stopped_with(unit_id, working)
            return _turn_back(context, unit, working, to, reason)
        open_incidents = [i.id for i in unit.incidents.list(unit_id) if i.closed_at is None]
    plan, target = plan_way_back(context, unit_id, to)
    now = context.clock.now()
    request = Request(reason or "rollback", context.actor.name, str(unit_id), context.actor.name, now)
    incident = open_incidents[0] if open_incidents else ""
    return accept_plan(context, plan, target, request, incident=incident).id


def plan_way_back(
    context: Context, unit_id: UnitId, to: str = "", *, alone: bool = True
) -> tuple[Plan, Release]:
    """The plan of a rollback and its target, computed from what is kept here: the state of a restore point,
    with the newest valid version of every secret that was revoked. ``alone``: behind a fence it may stop the
    other units on a database, because it is not one of several that go back together.
    """
    with context.store.read() as unit:
        current = unit.releases.current(unit_id)
        points = unit.points.list(unit_id)
        aside = releases_aside(unit, points)
        refuse_pruned(unit, unit_id, points, to)
        before = came_from(unit, unit_id, current)
        point = choose_point(unit_id, points, current, to, before, aside)
        base, old = unit.releases.get(current), unit.releases.get(point.release)
        refuse_quarantined(unit, old)
        renewal = renewal_of(unit, old, context.vault)
        target = renewal.release
        refuse_quarantined(unit, target)
        left = left_notes(data_left(unit, target), unit_id)
    refuse_lacking(renewal)
    refuse_incomplete(context, target)
    move = move_between(context, base, target, back=True)
    refuse_contracted(base, target, move.schemas, move.reverts)
    move, beside = with_others(context, move) if alone else (move, ())
    plan = plan_rollback(move)
    passed = () if to else passed_over(points, current, before, aside)
    plan = replace(plan, notes=(*passed, *_with_secrets(point, renewal), *beside, *plan.notes, *left))
    context.store.put_plan(plan, target, base)
    return plan, target


def _with_secrets(point: RestorePoint, renewal: Renewal) -> tuple[Message, ...]:
    if not renewal.changes:
        return ()
    template = N_("To {point} ({release}), with other versions of its secrets")
    return (Message(template, {"point": point.id, "release": short(point.release)}), *renewal.notes)


def refuse_incomplete(context: Context, target: Release) -> None:
    image = target.image
    blobs = context.images.missing(image) if image else ()
    missing = tuple(piece for piece in missing_content(context, target) if piece not in blobs)
    if missing:
        raise NotReversible(
            N_("release {release} is not whole here: {count} pieces are missing or damaged, first {first}"),
            todo=N_("Choose another restore point with --to, or restore the state directory from a backup."),
            where=str(target.unit),
            release=short(target.digest),
            count=len(missing),
            first=missing[0],
        )
    if image is not None and not can_start(context, context.drivers, target):
        raise NotReversible(
            N_("the image {image} is neither kept here whole nor in the engine"),
            todo=N_(
                "Fetch it while the registry has it: lastgood prove {unit}; or choose another restore point "
                "with --to."
            ),
            where=str(target.unit),
            image=image.pinned,
            unit=str(target.unit),
        )


def _turn_back(context: Context, unit: UnitOfWork, working: Rollout, to: str, reason: str) -> str:
    """Tell an open rollout to go back; asked twice, it goes back once."""
    goes_to = working.target if working.kind is PlanKind.ROLLBACK else working.base
    points = unit.points.list(working.unit)
    elsewhere = to and choose_point(working.unit, points, "", to).release != goes_to
    if working.kind in (PlanKind.HEAL, PlanKind.RESTORE) or elsewhere:
        raise Conflict(
            N_("{rollout} ({kind}) is at work on {unit}; it can only be taken to {goes_to}"),
            todo=N_("Run lastgood rollback {unit} without --to, or wait for its end."),
            where=str(working.unit),
            rollout=working.id,
            kind=working.kind.value,
            unit=str(working.unit),
            goes_to=short(goes_to) or "-",
        )
    if working.kind is PlanKind.ROLLBACK:
        return working.id
    base, target = unit.releases.get(working.base), unit.releases.get(working.target)
    refuse_lacking(renewal_of(unit, base, context.vault, coming=target))
    why = reason or "rollback"
    unit.wishes.ask(StopRequest(working.id, "back", context.actor.name, why, context.clock.now()))
    context.audit(unit, "rollback", str(working.unit), Phase.INTENT, why, {"undoes": working.id})
    _stop_its_change(context, unit, working, why)
    return working.id


def _stop_its_change(context: Context, unit: UnitOfWork, working: Rollout, why: str) -> None:
    """What a person takes back by hand is no reason to go on with the others, nor to take them back."""
    change_id = keeper(unit, working.part_of)
    if not change_id:
        return
    change, wish = unit.changes.get(change_id), unit.wishes.asked(change_id)
    if change.kind is PlanKind.DEPLOY and wish is None:
        stop_change(
            unit, change, StopRequest(change_id, "stop", context.actor.name, why, context.clock.now())
        )


def _refuse_going_back(change: Change, unit_id: UnitId) -> None:
    """A change that goes back brings this unit along; one that goes forward gives it up to a person."""
    if change.kind is PlanKind.ROLLBACK:
        raise Conflict(
            N_("{unit} is being taken back by {change} already"),
            todo=N_("Follow it with lastgood show {change} --follow; it ends by itself."),
            where=str(unit_id),
            unit=str(unit_id),
            change=change.id,
        )
