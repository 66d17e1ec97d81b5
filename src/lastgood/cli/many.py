"""plan, deploy and rollback for many units: what their commands do when more than one unit is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lastgood.cli.change import NO_TERMINAL, ask, run_options
from lastgood.cli.follow_change import document, follow_change, until_guarding, until_over
from lastgood.cli.session import Session
from lastgood.cli.telling import telling
from lastgood.domain.digest import short
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.plan import PlanKind

WILD = "*?["


def are_many(units: Sequence[str]) -> bool:
    """Several units, or a pattern: a change with waves. Exactly one unit is moved by itself."""
    return len(set(units)) != 1 or any(sign in units[0] for sign in WILD)


def plan_units(
    session: Session, wanted: Sequence[str], commit: str, *, details: bool, rehearse: bool
) -> None:
    with telling(session) as told:
        plan, plans = session.service.many.plan(wanted, commit, rehearse=rehearse, told=told)
    session.document({"digest": plan.digest, "change": plan, "plans": {str(p.unit): p for p in plans}})
    if session.json:
        return
    from lastgood.cli.wave_view import waves_view

    session.show(waves_view(session.t, plan, plans, details=details))
    options = run_options(commit, rehearse=rehearse)
    template = N_(
        'Run it with: lastgood deploy {unit} {options}--plan {digest} --reason "…" --owner … --impact "…"'
    )
    session.say(template, unit=_quoted(wanted), options=options, digest=short(plan.digest))


def deploy_units(
    session: Session,
    wanted: Sequence[str],
    commit: str,
    shown: str,
    request: Mapping[str, str],
    yes: bool,
    guard: bool,
    detach: bool,
    rehearse: bool,
) -> None:
    """Plan, ask, accept, follow to the verdict of the last wave (``guard``: to the end of all windows)."""
    digest = _confirm(session, wanted, commit, shown, yes=yes, rehearse=rehearse)
    with telling(session) as told:
        change = session.service.many.deploy(
            wanted, revision=commit, plan=digest, rehearse=rehearse, told=told, **request
        )
    accepted = {"change": change.id, "plan": change.plan.digest}
    if detach:
        session.document({**accepted, "state": change.state})
        session.say(
            N_("{rollout} is accepted. Follow it: lastgood show {rollout} --follow"), rollout=change.id
        )
        return
    if session.json:
        session.line({"event": "accepted", **accepted})
    follow_change(session, change.id, PlanKind.DEPLOY, until_over if guard else until_guarding)


def _confirm(
    session: Session, wanted: Sequence[str], commit: str, shown: str, *, yes: bool, rehearse: bool
) -> str:
    """The digest that the change is bound to. Raises InvalidInput where nobody can be asked, Abort on no."""
    if not (yes or shown or session.asks):
        raise InvalidInput(
            NO_TERMINAL,
            todo=N_("Look at the plan (lastgood plan {unit}), then add --plan with its digest, or --yes."),
            unit=_quoted(wanted),
        )
    if shown and not session.asks:
        return shown
    with telling(session) as told:
        plan, plans = session.service.many.plan(wanted, commit, rehearse=rehearse, told=told)
    if not session.json:
        from lastgood.cli.wave_view import waves_view

        session.show(waves_view(session.t, plan, plans))
    if not (yes or shown):
        ask(session, N_("Deploy this?"))
    return shown or plan.digest


def rollback_change(session: Session, name: str, reason: str, *, yes: bool, detach: bool) -> None:
    """Show what goes back, ask, go, follow to the end."""
    _confirm_back(session, name, yes=yes)
    going = session.service.many.rollback(name, reason)
    if detach:
        session.document({"change": going})
        session.say(N_("{rollout} is at work. Follow it: lastgood show {rollout} --follow"), rollout=going)
        return
    if session.json:
        session.line({"event": "accepted", "change": going})
    follow_change(session, going, PlanKind.ROLLBACK, until_over)


def _confirm_back(session: Session, name: str, *, yes: bool) -> None:
    """An emergency with --yes waits for nothing."""
    if yes and not session.asks:
        return
    if not (yes or session.asks):
        raise InvalidInput(
            NO_TERMINAL, todo=N_("Look at it (lastgood show {change}), then add --yes."), change=name
        )
    from lastgood.cli.wave_view import back_waves_view, change_view

    progress = session.service.many.show(name)
    session.show(change_view(session.t, progress))
    if not progress.is_open:
        session.show(back_waves_view(session.t, session.service.many.plan_back(name)))
    if not yes:
        ask(session, N_("Go back?"))


def show_change(session: Session, name: str, *, following: bool) -> None:
    progress = session.service.many.show(name)
    if following:
        follow_change(session, name, progress.change.kind, until_over)
    session.document({**document(progress), "request": progress.change.request, "plan": progress.change.plan})
    if session.json:
        return
    from lastgood.cli.wave_view import change_view

    session.show(change_view(session.t, progress))


def _quoted(wanted: Sequence[str]) -> str:
    """As a shell takes it."""
    return " ".join(f"'{name}'" if any(sign in name for sign in WILD) else name for name in wanted)
