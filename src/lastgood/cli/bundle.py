"""bundle: a restore point as plain files, for the day without lastgood."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lastgood.cli.arguments import Command, Unit, commands, paragraphs
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=paragraphs(
        N_(
            "Image, configuration, sealed secrets and a readable script of plain commands: it takes the unit "
            "back when lastgood or its state is gone. The key is not in it: keep that elsewhere."
        ),
        N_("keep.bundles in service.yaml has one written whenever a restore point is kept."),
    ),
    epilog="lastgood bundle storefront@prod/us --to /mnt/rescue",
)
def bundle(
    ctx: typer.Context,
    unit: Unit,
    to: Annotated[Path, typer.Option(metavar="DIR", help=N_("Where it is written."))],
    point: Annotated[
        str,
        typer.Option(
            metavar="POINT", help=N_("A restore point or release; the newest good one if not said.")
        ),
    ] = "",
) -> None:
    """Write a restore bundle."""
    from lastgood.cli.session import Session
    from lastgood.cli.session import unit as parse

    session = Session(ctx)
    written = session.service.bundle(parse(unit), to.resolve(), point)
    session.document(written)
    session.say(
        N_("{unit}: {point} is written to {directory} ({size:.1f} MB)"),
        unit=unit,
        point=written.point,
        directory=str(written.directory),
        size=written.size / 1e6,
    )
    session.say(N_("Its script needs: {needs}"), needs=", ".join(written.needs))
