"""quarantine: what failed and is not deployed again, on no unit."""

from __future__ import annotations

from typing import Annotated

import typer

from lastgood.cli.arguments import Command, Reason, commands, paragraphs
from lastgood.domain.message import N_
from lastgood.domain.quarantine import QuarantineKind

app = commands()


@app.command(
    "list",
    cls=Command,
    help=N_(
        "Show what is set aside, newest first: every deploy and rollback that would bring it is refused."
    ),
    epilog="lastgood quarantine list\nlastgood quarantine list --all",
)
def listed(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help=N_("Also what was lifted again."))] = False,
) -> None:
    """What is set aside."""
    from lastgood.cli.session import Session

    session = Session(ctx)
    found = session.service.quarantines.list(lifted=everything)
    session.document(found)
    if session.json:
        return
    if not found:
        session.say(N_("nothing is set aside"))
        return
    from lastgood.cli.quarantine_view import quarantine_lines

    for line in quarantine_lines(session.t, found):
        session.show(line)


@app.command(
    cls=Command,
    help=paragraphs(
        N_("Set something aside by hand, for all units. What fails by its own fault is set aside by itself."),
        N_("An image, artifact or release by its digest, or the first digits of one that was deployed here."),
    ),
    epilog='lastgood quarantine add image 3f9ac2 --reason "a hole in its TLS library"\n'
    'lastgood quarantine add commit v42 --service shop --reason "loses gift notes"',
)
def add(
    ctx: typer.Context,
    kind: Annotated[
        QuarantineKind, typer.Argument(metavar="KIND", help=N_("image, artifact, release or commit."))
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help=N_("Its digest, or a revision."))],
    service: Annotated[str, typer.Option(metavar="NAME", help=N_("Whose commit it is."))] = "",
    reason: Reason = "",
) -> None:
    """Refuse it from now on."""
    from lastgood.cli.session import Session

    session = Session(ctx)
    made = session.service.quarantines.add(kind, name, service=service, reason=reason)
    session.document(made)
    session.say(N_("{name} is set aside as {id}"), name=made.name, id=made.id)


@app.command(
    cls=Command,
    help=N_("With an incident or a rollout: all that it set aside. Else one entry, digest or commit."),
    epilog='lastgood quarantine lift in-r-261123-064512-3fa9 --reason "a wrong address"',
)
def lift(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(metavar="WHAT", help=N_("As lastgood quarantine list shows it."))],
    reason: Reason = "",
) -> None:
    """Allow it again."""
    from lastgood.cli.session import Session

    session = Session(ctx)
    lifted = session.service.quarantines.lift(what, reason)
    session.document(lifted)
    for entry in lifted:
        again = N_("{name} may be deployed again")
        dropped = N_("{name} may be dropped: nobody here asks for it any more")
        session.say(dropped if entry.kind is QuarantineKind.DATABASE else again, name=entry.name)
