"""plan: what would happen, shown before anything does."""

from __future__ import annotations

from typing import Annotated

import typer

from lastgood.cli.arguments import Command, NoRehearsal, Revision, Units, commands, only, paragraphs
from lastgood.cli.change import run_options
from lastgood.cli.session import Session
from lastgood.cli.telling import telling
from lastgood.domain.message import N_
from lastgood.domain.plan import Plan
from lastgood.domain.unit import UnitId

app = commands()


@app.command(
    cls=Command,
    help=paragraphs(
        N_("A deploy names the plan that was shown with --plan, so that nothing else can run."),
        N_(
            "Migrations are tried first on a copy that nobody else uses, once; whether old code runs on the "
            "new schema decides the order of the way back. That takes as long as loading the copy."
        ),
    ),
    epilog="lastgood plan storefront@prod/us --commit v42\nlastgood plan 'storefront@prod/*'\n"
    "lastgood plan storefront@prod/us --back\nlastgood plan storefront@prod/us --restore",
)
def plan(
    ctx: typer.Context,
    units: Units,
    commit: Revision = "HEAD",
    back: Annotated[bool, typer.Option("--back", help=N_("Plan a rollback instead of a deploy."))] = False,
    to: Annotated[
        str, typer.Option(metavar="POINT", help=N_("The restore point or release to go back to."))
    ] = "",
    restore: Annotated[
        bool, typer.Option("--restore", help=N_("Plan going back to a snapshot of its database."))
    ] = False,
    database: Annotated[
        str, typer.Option(metavar="NAME", help=N_("With --restore: which of its databases."))
    ] = "",
    details: Annotated[
        bool, typer.Option("--details", help=N_("Of many units: the whole plan of each."))
    ] = False,
    no_rehearsal: NoRehearsal = False,
) -> None:
    """Show a plan."""
    from lastgood.cli.many import are_many, plan_units
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    going_back = back or bool(to)
    if are_many(units) and not (going_back or restore):
        plan_units(session, units, commit, details=details, rehearse=not no_rehearsal)
        return
    unit = only(units)
    known = parse(unit)
    if restore:
        _plan_restore(session, known, database)
        return
    if going_back:
        found = session.service.plan_rollback(known, to)
    else:
        with telling(session) as told:
            found = session.service.plan(known, commit, rehearse=not no_rehearsal, told=told)
    session.document({"digest": found.digest, "seconds": found.seconds, **plan_document(found)})
    if not session.json:
        if going_back:
            _show_back(session, found, to)
        else:
            _show(session, found, run_options(commit, rehearse=not no_rehearsal))


def _show_back(session: Session, found: Plan, to: str) -> None:
    from lastgood.cli.back_view import back_view

    session.show(back_view(session, found))
    there = f"{found.unit} --to {to}" if to else found.unit
    session.say(N_("Go there with: lastgood rollback {unit}"), unit=there)


def _show(session: Session, found: Plan, options: str) -> None:
    from lastgood.cli.plan_view import plan_view
    from lastgood.domain.digest import short

    session.show(plan_view(session.t, found))
    template = N_(
        'Run it with: lastgood deploy {unit} {options}--plan {digest} --reason "…" --owner … --impact "…"'
    )
    session.say(template, unit=found.unit, options=options, digest=short(found.digest))


def _plan_restore(session: Session, unit: UnitId, database: str) -> None:
    planned = session.service.databases.plan_restore(unit, database=database)
    session.document({**plan_document(planned), "costs": planned.costs})
    if not session.json:
        from lastgood.cli.restore_view import restore_view

        session.show(restore_view(session.t, planned))
        session.say(N_("Go there with: lastgood restore {unit}"), unit=unit)


def plan_document(found: object) -> dict[str, object]:
    """A plan as data."""
    from lastgood.domain.digest import plain

    document: dict[str, object] = plain(found)
    return document
