"""deploy, accept, rollback, stop: what moves units, and back."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from lastgood.cli.arguments import (
    Command,
    Detach,
    NoRehearsal,
    Reason,
    Revision,
    Unit,
    Units,
    Yes,
    commands,
    paragraphs,
)  # fmt: skip
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

app = commands()


class Until(str, Enum):
    """How long a deploy is followed."""

    VERDICT = "verdict"
    GUARD = "guard"


@app.command(
    cls=Command,
    help=paragraphs(
        N_("The plan is shown first. Without a terminal it runs only with --yes or with the --plan shown."),
        N_(
            "Exit codes: 0 good so far or verified, 5 taken back by a broken gate, 6 not enough evidence, "
            "8 a step failed, 10 the way back stopped; 2, 3, 4, 7 nothing was changed."
        ),
        N_(
            "Several units, or a pattern, are one change: it goes in waves, as lastgood.yaml says under "
            "'waves'; a unit that fails takes all of it back, in reverse order."
        ),
        N_("Ctrl-C ends the following, never the deploy."),
    ),
    epilog='lastgood deploy shop@prod/us --reason "gift notes" --owner ann --impact cart\n'
    "lastgood deploy 'shop@prod/*' --reason \"gift notes\" --owner ann --impact cart",
)
def deploy(
    ctx: typer.Context,
    units: Units,
    reason: Reason = "",
    owner: Annotated[str, typer.Option(metavar="NAME", help=N_("Who answers for it."))] = "",
    impact: Annotated[str, typer.Option(metavar="TEXT", help=N_("Whom it touches if it goes wrong."))] = "",
    commit: Revision = "HEAD",
    plan: Annotated[str, typer.Option(metavar="DIGEST", help=N_("Run exactly this plan, or nothing."))] = "",
    yes: Yes = False,
    wait: Annotated[
        Until,
        typer.Option(
            metavar="verdict|guard", help=N_("Follow to the gate's verdict, or through the guard window.")
        ),
    ] = Until.VERDICT,
    detach: Detach = False,
    no_rehearsal: NoRehearsal = False,
) -> None:
    """Plan, ask, accept, follow."""
    from lastgood.cli.change import check_change, confirm_plan
    from lastgood.cli.follow import follow, until_closed, until_verdict
    from lastgood.cli.many import are_many, deploy_units
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse
    from lastgood.cli.telling import telling
    from lastgood.domain.plan import PlanKind

    session = Session(ctx)
    request = {"reason": reason, "owner": owner, "impact": impact}
    rehearse, guard = not no_rehearsal, wait is Until.GUARD
    if are_many(units):
        check_change(**request)
        deploy_units(session, units, commit, plan, request, yes, guard, detach, rehearse)
        return
    unit, known = units[0], parse(units[0])
    check_change(**request)
    digest = confirm_plan(session, known, commit, plan, yes=yes, rehearse=rehearse)
    with telling(session) as told:
        rollout = session.service.deploy(
            known, revision=commit, plan=digest, rehearse=rehearse, told=told, **request
        )
    if detach:
        session.document({"rollout": rollout.id, "state": rollout.state, "plan": digest, "unit": unit})
        session.say(
            N_("{rollout} is accepted. Follow it: lastgood show {rollout} --follow"), rollout=rollout.id
        )
        return
    if session.json:
        session.line({"event": "accepted", "rollout": rollout.id, "plan": digest, "unit": unit})
    follow(session, rollout.id, PlanKind.DEPLOY, until_closed if guard else until_verdict)


@app.command(
    cls=Command,
    help=paragraphs(
        N_("Also takes a release as good that ended unverified. It becomes a restore point."),
        N_(
            "Of a change that moved data it is the last moment: afterwards the data goes back from the "
            "snapshot's file only, without what was written since."
        ),
    ),
    epilog='lastgood accept storefront@prod/us --reason "checked by hand, orders are fine"',
)
def accept(ctx: typer.Context, unit: Unit, reason: Reason = "") -> None:
    """End the guard window well."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    rollout = session.service.accept(parse(unit), reason)
    session.document({"rollout": rollout.id, "unit": unit})
    session.say(N_("{rollout} on {unit} is accepted as good."), rollout=rollout.id, unit=unit)


@app.command(
    cls=Command,
    help=paragraphs(
        N_(
            "Needs no estate, no Git host, nothing that may be down. A deploy that is still open is told to "
            "turn back; a warm old generation has the traffic again at once."
        ),
        N_("With --change every unit of a change goes back, the last one first."),
        N_("Exit codes: 0 back and verified, 5 back but still bad, 6 back but unverified, 10 it stopped."),
    ),
    epilog="lastgood rollback storefront@prod/us\nlastgood rollback storefront@prod/us --to 3f9ac2 --yes\n"
    "lastgood rollback --change c-261123-064512-3fa9",
)
def rollback(
    ctx: typer.Context,
    unit: Annotated[
        str,
        typer.Argument(metavar="[UNIT]", help=N_("service@environment/site; not said with --change.")),
    ] = "",
    to: Annotated[
        str,
        typer.Option(metavar="POINT", help=N_("A restore point or release; the last good one if not said.")),
    ] = "",
    change: Annotated[
        str, typer.Option(metavar="CHANGE", help=N_("Take back a whole change, by its id."))
    ] = "",
    reason: Reason = "",
    yes: Yes = False,
    detach: Detach = False,
) -> None:
    """Show the way back, ask, go, follow to the end."""
    from lastgood.cli.change import confirm_way_back
    from lastgood.cli.follow import follow, until_closed
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse
    from lastgood.domain.change import is_change
    from lastgood.domain.plan import PlanKind

    session = Session(ctx)
    if change or is_change(unit):
        from lastgood.cli.many import rollback_change

        _refuse_both(unit if change else "", to)
        rollback_change(session, change or unit, reason, yes=yes, detach=detach)
        return
    known = parse(unit)
    confirm_way_back(session, known, to, yes=yes)
    rollout = session.service.rollback(known, to=to, reason=reason)
    if detach:
        session.document({"rollout": rollout, "unit": unit})
        session.say(N_("{rollout} is at work. Follow it: lastgood show {rollout} --follow"), rollout=rollout)
        return
    if session.json:
        session.line({"event": "accepted", "rollout": rollout, "unit": unit})
    follow(session, rollout, PlanKind.ROLLBACK, until_closed)


def _refuse_both(unit: str, to: str) -> None:
    """A change goes back as a whole, and to where it came from."""
    if unit or to:
        raise InvalidInput(
            N_("--change takes back every unit of a change to where it was; a UNIT or --to says otherwise"),
            todo=N_("Leave one of them out."),
        )


@app.command(
    cls=Command,
    help=paragraphs(
        N_("Units that were begun go on to the end of their guard windows; the others are free at once."),
        N_("To take back what was begun as well: lastgood rollback --change CHANGE."),
    ),
    epilog='lastgood stop c-261123-064512-3fa9 --reason "complaints from the US shop"',
)
def stop(
    ctx: typer.Context,
    change: Annotated[str, typer.Argument(metavar="CHANGE", help=N_("A change's id, as history lists it."))],
    reason: Reason = "",
) -> None:
    """Begin no further unit of a change."""
    from lastgood.cli.session import Session

    session = Session(ctx)
    stopped = session.service.many.stop(change, reason)
    session.document({"change": stopped.id})
    session.say(N_("{change} begins no further unit. See lastgood show {change}."), change=stopped.id)
