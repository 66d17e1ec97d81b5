"""history, show: what was done, and one rollout whole."""

from __future__ import annotations

from typing import Annotated

import typer

from lastgood.cli.arguments import Command, commands
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=N_("Newest first. With a UNIT: its restore points too."),
    epilog="lastgood history storefront@prod/us",
)
def history(
    ctx: typer.Context,
    unit: Annotated[
        str, typer.Argument(metavar="[UNIT]", help=N_("service@environment/site; all of them if not said."))
    ] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help=N_("At most so many; 50 if not said."))] = 50,
) -> None:
    """Show rollouts and restore points."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    rollouts, points = session.service.history(parse(unit) if unit else None, limit)
    changes = [] if unit else session.service.many.list(limit)
    session.document({"rollouts": rollouts, "restore_points": points, "changes": changes})
    if session.json:
        return
    if not rollouts and not points:
        session.say(N_("Nothing was done here yet."))
        return
    from lastgood.cli.history_view import history_view

    session.show(history_view(session.t, rollouts, points, changes))


@app.command(
    cls=Command,
    help=N_(
        "With --follow it goes on to the end, the way back included; the exit codes are those of deploy."
    ),
    epilog="lastgood show r-261123-064512-3fa9\nlastgood show r-261123-064512-3fa9 --follow",
)
def show(
    ctx: typer.Context,
    rollout: Annotated[
        str, typer.Argument(metavar="ROLLOUT", help=N_("Id of a rollout or a change, as history lists it."))
    ],
    following: Annotated[bool, typer.Option("--follow", "-f", help=N_("Follow it to its end."))] = False,
) -> None:
    """Show one rollout, or one change."""
    from lastgood.cli.session import Session
    from lastgood.domain.change import is_change

    session = Session(ctx)
    if is_change(rollout):
        from lastgood.cli.many import show_change

        show_change(session, rollout, following=following)
        return
    progress, incident, related = session.service.show(rollout)
    if following:
        from lastgood.cli.follow import follow, until_closed

        follow(session, rollout, progress.rollout.kind, until_closed)
    everything = session.service.quarantines.list(lifted=True) if incident else ()
    aside = [entry for entry in everything if incident and entry.incident == incident.id]
    session.document({"progress": progress, "incident": incident, "related": related, "set_aside": aside})
    if session.json:
        return
    from lastgood.cli.show_view import show_view

    session.show(show_view(session, progress, incident, related, aside))
