"""prove: that a unit can be taken back, shown while nothing is wrong."""

from __future__ import annotations

import typer

from lastgood.cli.arguments import Command, Unit, commands
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=N_(
        "Reads every piece that the way back needs, fetches what is missing of its images again, and loads "
        "the newest copy of each database into a scratch database. Nothing that runs is changed. The exit "
        "code is 7 when something is not whole."
    ),
    epilog="lastgood prove storefront@prod/us",
)
def prove(ctx: typer.Context, unit: Unit) -> None:
    """Prove a way back."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse
    from lastgood.cli.telling import telling
    from lastgood.domain.digest import plain
    from lastgood.domain.errors import NotReversible

    session = Session(ctx)
    known = parse(unit)
    with telling(session) as told:
        proof = session.service.prove(known, told)
    session.document({**plain(proof), "good": proof.good})
    if not session.json:
        from lastgood.cli.prove_view import proof_view

        session.show(proof_view(session.t, proof))
    if not proof.good:
        raise typer.Exit(NotReversible.exit_code)
