"""What is asked before something changes: the plan is shown, a person says yes, or a digest binds it."""

from __future__ import annotations

import typer

from lastgood.cli.session import Session
from lastgood.cli.telling import telling
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.plan import PlanKind
from lastgood.domain.unit import UnitId

REFUSED = 1
"""Exit code of a person's no."""
NO_TERMINAL = N_("nobody can be asked here: this is not a terminal")


def check_change(**fields: str) -> None:
    """The service checks it again; here it is said before the plan is made. Raises InvalidInput."""
    missing = [f"--{name}" for name, value in fields.items() if not value.strip()]
    if missing:
        raise InvalidInput(
            N_("a change needs a reason, an owner and its impact; missing: {missing}"),
            todo=N_('Add for example --reason "gift notes" --owner team-shop --impact "checkout, us".'),
            missing=", ".join(missing),
        )


def run_options(commit: str, *, rehearse: bool) -> str:
    """What a deploy has to say to have the plan that was shown."""
    named = f"--commit {commit} " if commit != "HEAD" else ""
    return named if rehearse else f"{named}--no-rehearsal "


def confirm_plan(
    session: Session, unit: UnitId, commit: str, shown: str, *, yes: bool, rehearse: bool = True
) -> str:
    """The digest that the change is bound to. Raises InvalidInput where nobody can be asked, Abort on no."""
    if not (yes or shown or session.asks):
        raise InvalidInput(
            NO_TERMINAL,
            todo=N_("Look at the plan (lastgood plan {unit}), then add --plan with its digest, or --yes."),
            unit=str(unit),
        )
    if shown and not session.asks:
        return shown
    with telling(session) as told:
        plan = session.service.plan(unit, commit, rehearse=rehearse, told=told)
    if not session.json:
        from lastgood.cli.plan_view import plan_view

        session.show(plan_view(session.t, plan))
    if shown:
        return shown
    if not yes:
        ask(session, N_("Deploy this?"))
    return plan.digest


def confirm_way_back(session: Session, unit: UnitId, to: str, *, yes: bool) -> None:
    """Show where it goes on one screen, and ask. An emergency with --yes waits for nothing."""
    if yes and not session.asks:
        return
    if not (yes or session.asks):
        raise InvalidInput(
            NO_TERMINAL, todo=N_("Look at it (lastgood plan {unit} --back), then add --yes."), unit=str(unit)
        )
    from lastgood.cli.back_view import back_view, turn_back_view

    (status,) = session.service.status(unit)
    if status.rollout is not None and status.rollout.state.is_open:
        if status.rollout.kind is PlanKind.ROLLBACK:
            session.say(N_("{rollout} is going back already."), rollout=status.rollout.id)
            return
        session.show(turn_back_view(session.t, status))
    else:
        session.show(back_view(session, session.service.plan_rollback(unit, to)))
    if not yes:
        ask(session, N_("Go back?"))


def ask(session: Session, question: str) -> None:
    """Ends the command on a no."""
    if not typer.confirm(session.t.text(question), default=False):
        session.say(N_("Nothing was done."))
        raise typer.Exit(REFUSED)
