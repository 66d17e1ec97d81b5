"""adopt: the first way back."""

from __future__ import annotations

import typer

from lastgood.cli.arguments import Command, Reason, Unit, commands
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=N_(
        "A first deploy does it by itself. A baseline is a way back, but nobody verified that it is good."
    ),
    epilog="lastgood adopt storefront@prod/us",
)
def adopt(ctx: typer.Context, unit: Unit, reason: Reason = "") -> None:
    """Observe, and keep what was seen."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse
    from lastgood.domain.digest import short

    session = Session(ctx)
    point = session.service.adopt(parse(unit), reason)
    session.document(point)
    template = N_("{unit} has a baseline: {point} (release {release})")
    session.say(template, unit=unit, point=point.id, release=short(point.release))
