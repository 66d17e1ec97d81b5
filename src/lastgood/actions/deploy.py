"""deploy: accept a change; the runner does the rest."""

from __future__ import annotations

from lastgood.actions.accepting import accept_plan
from lastgood.actions.context import Context
from lastgood.actions.holding import refuse_held
from lastgood.actions.images import has_moved, tag_moved
from lastgood.actions.plan_change import PlannedChange, plan_change
from lastgood.actions.rehearsing import Told, unheard
from lastgood.domain.digest import short
from lastgood.domain.errors import Conflict, InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.rollout import Request, Rollout
from lastgood.domain.unit import UnitId


def deploy(
    context: Context,
    unit_id: UnitId,
    *,
    revision: str = "HEAD",
    reason: str,
    owner: str,
    impact: str,
    plan: str = "",
    rehearse: bool = True,
    told: Told = unheard,
) -> Rollout:
    """Plan and accept. ``plan`` (a digest or prefix) binds the acceptance to a plan that was shown, with or
    without a rehearsal as this one; ``rehearse`` and ``told`` as for ``plan_change``.

    Raises what ``plan_change`` and ``accept_plan`` raise, and Conflict when the plan shown is not today's.
    """
    require_change(reason=reason, owner=owner, impact=impact)
    refuse_busy(context, unit_id)
    planned = plan_change(context, unit_id, revision, rehearse=rehearse, told=told)
    if not binds(plan, planned.plan.digest):
        raise _other_plan(context, planned, plan)
    keep_content(context, planned)
    now = context.clock.now()
    request = Request(reason, owner, impact, context.actor.name, now)
    return accept_plan(context, planned.plan, planned.release, request)


def binds(shown: str, now: str) -> bool:
    """Whether the plan that was shown (a digest or prefix, empty for none) is today's."""
    return now.removeprefix("sha256:").startswith(shown.removeprefix("sha256:"))


def other_plan(shown: str, now: str, asked: str) -> Conflict:
    return Conflict(
        N_("the plan you were shown ({shown}) is not what would run now ({now})"),
        todo=N_("Look at it again: lastgood plan {unit}"),
        where=asked,
        shown=short(shown),
        now=short(now),
        unit=asked,
    )


def _other_plan(context: Context, planned: PlannedChange, shown: str) -> Conflict:
    """Why another plan was shown: of all that can differ, people ask least of a tag that moved."""
    unit_id, now = planned.plan.unit, planned.release.image
    try:
        _, release, _ = context.store.plan(shown)
        before = release.image
    except InvalidInput:
        before = None
    if before is not None and now is not None and has_moved(before, now):
        return tag_moved(unit_id, before, now)
    return other_plan(shown, planned.plan.digest, str(unit_id))


def require_change(**fields: str) -> None:
    """Raises InvalidInput naming every field that is missing (R2)."""
    missing = [name for name, value in fields.items() if not value.strip()]
    if missing:
        raise InvalidInput(
            N_("a change needs a reason, an owner and its impact; missing: {missing}"),
            todo=N_('Add for example --reason "gift notes" --owner team-shop --impact "checkout, us".'),
            missing=", ".join(missing),
        )


def refuse_busy(context: Context, unit_id: UnitId) -> None:
    """A friendlier word than the lock's, and before any work: what is open on this unit."""
    with context.store.read() as unit:
        refuse_held(unit, unit_id)


def keep_content(context: Context, planned: PlannedChange) -> None:
    """All that the release needs to be there again, kept here before it is accepted (law 2)."""
    for content in planned.contents.values():
        context.objects.put(content)
    for name, value in planned.secrets.items():
        context.vault.seal(name, value)
