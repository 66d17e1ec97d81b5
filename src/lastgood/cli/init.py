"""init: an estate to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lastgood.cli.arguments import Command, commands, paragraphs
from lastgood.domain.message import N_

app = commands()


@app.command(
    cls=Command,
    help=paragraphs(
        N_("It is committed if the directory is in no repository yet."),
        N_("With --image it is for a service that runs as containers behind HAProxy already."),
    ),
    epilog="lastgood init shop --name shop\n"
    "lastgood init shop --image registry.example.com/shop/web:1.4 --port 80",
)
def init(
    ctx: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help=N_("Where; here if not said."))] = Path(),
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help=N_("What the estate is called; the directory's name if not said.")),
    ] = "",
    image: Annotated[str, typer.Option(metavar="IMAGE", help=N_("The image that runs now."))] = "",
    service: Annotated[
        str, typer.Option(metavar="NAME", help=N_("What the service is called; web if not said."))
    ] = "web",
    port: Annotated[
        int, typer.Option(metavar="PORT", help=N_("Where it listens inside its container."))
    ] = 8080,
    listen: Annotated[
        int, typer.Option(metavar="PORT", help=N_("Where HAProxy has the customers of the service."))
    ] = 80,
    ready: Annotated[
        str, typer.Option(metavar="PATH", help=N_("What answers 2xx when it is ready."))
    ] = "/healthz",
) -> None:
    """Scaffold an estate."""
    from lastgood.bootstrap.service import Service
    from lastgood.cli.session import Session

    session = Session(ctx)
    called = name or directory.resolve().name.lower().replace("_", "-")
    if image:
        parts = {"service": service, "image": image, "ready": ready}
        written = Service.init_image(directory, called, port=port, listen=listen, **parts)
    else:
        written = Service.init(directory, called)
    session.document({"directory": directory.resolve(), "name": called, "files": written})
    for path in written:
        session.say("  {path}", path=path)
    session.say(N_("An estate named {name} is in {directory}."), name=called, directory=directory.resolve())
    if image:
        session.say(
            N_("Next: lastgood lint; then lastgood adopt {unit} keeps what runs now as the first way back"),
            unit=f"{service}@prod/us",
        )
    else:
        session.say(N_("Next: lastgood lint; then start Caddy (caddy start) and lastgood plan hello@dev/us"))
