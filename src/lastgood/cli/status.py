"""status: where every unit is, and whether there is a way back."""

from __future__ import annotations

from typing import Annotated

import typer

from lastgood.cli.arguments import Command, commands
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=N_("With a UNIT: all that is known of it. What is shown was observed at the time that is shown."),
    epilog="lastgood status\nlastgood status storefront@prod/us --watch",
)
def status(
    ctx: typer.Context,
    unit: Annotated[
        str, typer.Argument(metavar="[UNIT]", help=N_("service@environment/site; all of them if not said."))
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help=N_("Look again each second until Ctrl-C."))] = False,
) -> None:
    """Show what is known."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    known = parse(unit) if unit else None
    if watch and not session.json:
        from lastgood.cli.status_watch import keep_watching

        keep_watching(session, known)
        return
    found = session.service.status(known)
    session.document({"runner": session.service.runner(), "units": found})
    if session.json:
        return
    if not found or (known and not found[0].release):
        session.say(N_("Nothing is known here yet."))
        session.say(
            N_("Begin with lastgood adopt UNIT or lastgood deploy UNIT; lastgood lint checks the estate.")
        )
        return
    from lastgood.cli.status_view import status_view

    session.show(status_view(session.t, found, detailed=known is not None))
