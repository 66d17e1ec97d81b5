"""status: where every unit is, and whether there is a way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from lastgood.cli.arguments import Command, commands
from lastgood.cli.session import Session
from lastgood.domain.errors import DriverError
from lastgood.domain.message import N_
from lastgood.domain.observation import Drift
from lastgood.domain.salvage import WritesSince
from lastgood.domain.status import UnitStatus
from lastgood.domain.unit import UnitId

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
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    known = parse(unit) if unit else None
    if watch and not session.json:
        from lastgood.cli.status_watch import keep_watching

        keep_watching(session, known)
        return
    found = session.service.status(known)
    drift, unseen = _look(session, known) if known and found and found[0].release else ((), "")
    writes, unheld = _held(session, found[0]) if known and found else ((), "")
    extra = {"drift": drift, "unseen": unseen, "writes": writes} if known else {}
    session.document({"runner": session.service.runner(), "units": found, **extra})
    if session.json:
        return
    if not found or (known and not found[0].release):
        session.say(N_("Nothing is known here yet."))
        session.say(
            N_("Begin with lastgood adopt UNIT or lastgood deploy UNIT; lastgood lint checks the estate.")
        )
        return
    from rich.text import Text

    from lastgood.cli.restore_view import held_lines
    from lastgood.cli.status_view import seen_text, status_view

    seen, held = None, held_lines(session.t, found[0].captures, writes)
    if known:
        seen = Text("? " + unseen, "yellow") if unseen else seen_text(session.t, drift)
        held += [Text("? " + unheld, "yellow")] if unheld else []
    session.show(status_view(session.t, found, detailed=known is not None, seen=seen, held=held))


def _held(session: Session, status: UnitStatus) -> tuple[Sequence[WritesSince], str]:
    """What the servers hold for open captures; or why they can't be seen."""
    if not status.captures:
        return (), ""
    try:
        return session.service.databases.writes_kept(status.unit), ""
    except DriverError as error:
        return (), session.t(error.what)


def _look(session: Session, unit: UnitId) -> tuple[Sequence[Drift], str]:
    """What differs on the targets now; or why they can't be seen."""
    try:
        return session.service.drift(unit), ""
    except DriverError as error:
        return (), session.t(error.what)
