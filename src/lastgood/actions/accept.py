"""accept: a person ends the guard window well, or takes an unverified release as good, with a reason."""

from __future__ import annotations

from lastgood.actions.captures import Servers, end_capture, settled_by
from lastgood.actions.content import missing_content
from lastgood.actions.context import Context
from lastgood.domain.audit import Phase
from lastgood.domain.errors import Conflict, DriverError, InvalidInput
from lastgood.domain.message import N_, Message
from lastgood.domain.plan import PlanKind
from lastgood.domain.restore_point import PointKind, RestorePoint
from lastgood.domain.rollout import Rollout, RolloutState, StopRequest
from lastgood.domain.unit import UnitId
from lastgood.ports.persistence import UnitOfWork


def accept(context: Context, unit_id: UnitId, *, reason: str) -> Rollout:
    """Returns the rollout that is accepted. Raises Conflict when there is nothing to accept."""
    if not reason.strip():
        raise InvalidInput(
            N_("accepting needs a reason"),
            todo=N_('Say why it is good enough: --reason "…"'),
            where=str(unit_id),
        )
    with context.store.write() as unit:
        rollout = _subject(unit, unit_id)
        _refuse_after_back(unit, rollout)
        phase = Phase.INTENT
        if rollout.state is RolloutState.GUARDING:
            request = StopRequest(rollout.id, "accept", context.actor.name, reason, context.clock.now())
            unit.wishes.ask(request)
        else:
            take_as_good(context, unit, rollout)
            phase = Phase.OUTCOME
        context.audit(unit, "accept", str(unit_id), phase, reason, {"rollout": rollout.id})
    if phase is Phase.OUTCOME:
        _end_captures(context, rollout, reason)
    return rollout


def _end_captures(context: Context, rollout: Rollout, reason: str) -> None:
    """Nobody goes back behind what is good; where the server can't be told, status goes on showing it."""
    with context.store.read() as unit:
        release = unit.releases.get(rollout.target)
        opened = settled_by(unit, rollout.id, release)
    because = Message("{text}", {"text": reason})
    for capture in opened:
        end_capture(
            Servers(context.store, context.drivers, context.vault),
            release,
            capture,
            because,
            context.clock.now(),
        )


def _subject(unit: UnitOfWork, unit_id: UnitId) -> Rollout:
    """The rollout in its guard window, or the newest one if it ended without a verdict."""
    newest = next(iter(unit.rollouts.list(unit_id, limit=1)), None)
    if newest is not None and newest.kind is PlanKind.DEPLOY and newest.state is RolloutState.GUARDING:
        return newest
    if newest is not None and newest.state is RolloutState.UNVERIFIED:
        return newest
    raise Conflict(
        N_("nothing to accept on {unit}: no guard window is open and nothing is unverified"),
        todo=N_("See lastgood status {unit}."),
        where=str(unit_id),
        unit=str(unit_id),
    )


def _refuse_after_back(unit: UnitOfWork, rollout: Rollout) -> None:
    """Who asked first to go back is not overruled."""
    wish = unit.wishes.asked(rollout.id)
    if wish is not None and wish.wish == "back" and rollout.state.is_open:
        raise Conflict(
            N_("{by} has asked to go back: {reason}"),
            todo=N_("Follow it with lastgood show {rollout} --follow."),
            where=str(rollout.unit),
            by=wish.by,
            reason=wish.reason,
            rollout=rollout.id,
        )


def take_as_good(context: Context, unit: UnitOfWork, rollout: Rollout) -> None:
    """Make an unverified release a restore point because a person said so; refused when it is not whole."""
    release = unit.releases.get(rollout.target)
    if missing := missing_content(context, release):
        raise DriverError(
            N_("the restore point would not be whole: {missing} is not kept here"),
            todo=N_("Check the disk under the state directory, then deploy again."),
            missing=", ".join(missing[:3]),
        )
    point_id = f"rp-{rollout.id}"
    if all(p.id != point_id for p in unit.points.list(rollout.unit)):
        now = context.clock.now()
        unit.points.add(
            RestorePoint(
                point_id, rollout.unit, rollout.target, PointKind.ACCEPTED, now, rollout.id, rollout.gate
            )
        )
    unit.rollouts.move(rollout.id, RolloutState.ACCEPTED_EARLY)
