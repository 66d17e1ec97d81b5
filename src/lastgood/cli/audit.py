"""audit: the record of who did what, when and why."""

from __future__ import annotations

from typing import Annotated

import typer

from lastgood.cli.arguments import Command, commands
from lastgood.domain.message import N_

app = commands()
BROKEN = 1
"""Exit code when the chain is broken: no error of the tree, but never success."""


@app.command(
    "list",
    cls=Command,
    help=N_("Show the record, newest first."),
    epilog="lastgood audit list --unit storefront@prod/us --limit 20",
)
def listed(
    ctx: typer.Context,
    unit: Annotated[str, typer.Option(metavar="UNIT", help=N_("Only what concerns this unit."))] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help=N_("At most so many; 50 if not said."))] = 50,
) -> None:
    """Intents and outcomes."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    subject = str(parse(unit)) if unit else ""
    records = session.service.audit(subject, limit)
    session.document(records)
    if session.json:
        return
    if not records:
        session.say(N_("nothing is recorded yet"))
        return
    from lastgood.cli.audit_view import audit_table

    session.show(audit_table(session.t, records))


@app.command(
    cls=Command,
    help=N_("Recompute every link of the record; the exit code is 1 when one is broken."),
    epilog="lastgood audit verify",
)
def verify(ctx: typer.Context) -> None:
    """Name the first broken link."""
    from lastgood.cli.session import Session

    session = Session(ctx)
    broken = session.service.verify_audit()
    newest = session.service.audit(limit=1)
    count = newest[0].sequence if newest else 0
    session.document({"whole": broken is None, "records": count, "first_broken": broken})
    if broken is None:
        session.say(N_("OK: {count} records, each follows from the one before"), count=count)
        return
    template = N_(
        "BROKEN at record {number} ({verb} {subject}, {at}): it does not follow from the one before"
    )
    session.say(
        template, number=broken.sequence, verb=broken.verb, subject=broken.subject, at=broken.at.isoformat()
    )
    session.say(N_("Compare the state directory with a backup; what comes after this record proves nothing."))
    raise typer.Exit(BROKEN)
