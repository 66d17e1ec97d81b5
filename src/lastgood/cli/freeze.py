"""unfreeze: changes are allowed again."""

from __future__ import annotations

import typer

from lastgood.cli.arguments import Command, Reason, Unit, commands
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=N_("An incident freezes its unit; rollbacks pass a freeze, changes don't."),
    epilog='lastgood unfreeze storefront@prod/us --reason "cause found: wrong address"',
)
def unfreeze(ctx: typer.Context, unit: Unit, reason: Reason = "") -> None:
    """Lift the freezes of a unit."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    count = session.service.unfreeze(parse(unit), reason)
    session.document({"unit": unit, "lifted": count})
    session.say(N_("{unit} may be changed again (freezes lifted: {count})"), unit=unit, count=count)
