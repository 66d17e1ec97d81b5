"""drift, heal: what differs from what was released, and putting it back."""

from __future__ import annotations

import typer

from lastgood.cli.arguments import Command, Detach, Reason, Unit, commands
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=N_("Looks at files, processes and traffic now. The exit code is 4 when something differs."),
    epilog="lastgood drift storefront@prod/us",
)
def drift(ctx: typer.Context, unit: Unit) -> None:
    """Show what differs."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse
    from lastgood.domain.errors import Conflict

    session = Session(ctx)
    found = session.service.drift(parse(unit))
    session.document({"unit": unit, "drift": found})
    if found and not session.json:
        from lastgood.cli.drift_view import drift_line

        for item in found:
            session.show(drift_line(session.t, item))
        session.say(N_("Put it back with: lastgood heal {unit}"), unit=unit)
    elif not found:
        session.say(N_("nothing differs from what was released"))
    if found:
        raise typer.Exit(Conflict.exit_code)


@app.command(
    cls=Command,
    help=N_("What was edited by hand is set aside, not deleted."),
    epilog='lastgood heal storefront@prod/us --reason "edited by hand during the night"',
)
def heal(ctx: typer.Context, unit: Unit, reason: Reason = "", detach: Detach = False) -> None:
    """Place, start and route what was released again."""
    from lastgood.cli.follow import follow, until_closed
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse
    from lastgood.domain.plan import PlanKind

    session = Session(ctx)
    rollout = session.service.heal(parse(unit), reason)
    if detach:
        session.document({"rollout": rollout.id, "unit": unit})
        session.say(
            N_("{rollout} is at work. Follow it: lastgood show {rollout} --follow"), rollout=rollout.id
        )
        return
    follow(session, rollout.id, PlanKind.HEAL, until_closed)
