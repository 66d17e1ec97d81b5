"""secrets: their versions, by name; revoking one, and giving a new one. A value is never shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lastgood.cli.arguments import Command, Reason, commands, paragraphs
from lastgood.domain.message import N_

app = commands()
Name = Annotated[str, typer.Argument(metavar="NAME", help=N_("As the service names it, for example TOKEN."))]


@app.callback(invoke_without_command=True)
def everything(ctx: typer.Context) -> None:
    """Without a command of its own: the list."""
    if ctx.invoked_subcommand is None:
        _show(ctx, "")


@app.command(
    "list",
    cls=Command,
    help=N_(
        "Show the versions of each secret: since when, which units run with it, which restore points were "
        "kept with it, and what was revoked. A version is a keyed digest; no value is opened."
    ),
    epilog="lastgood secrets list\nlastgood secrets list TOKEN",
)
def listed(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help=N_("Only this secret."))] = "",
) -> None:
    """Versions by name."""
    _show(ctx, name)


def _show(ctx: typer.Context, name: str) -> None:
    from lastgood.cli.session import Session

    session = Session(ctx)
    found = session.service.secrets.list(name)
    session.document(found)
    if session.json:
        return
    if not found:
        session.say(N_("no unit was given a secret yet"))
        return
    from lastgood.cli.secrets_view import version_lines

    for line in version_lines(session.t, found):
        session.show(line)


@app.command(
    cls=Command,
    help=paragraphs(
        N_(
            "Nothing goes back to a revoked version, on no unit: the newest valid one is used instead, and "
            "the plan says so. What runs with it goes on running, and is named. It can't be lifted."
        ),
        N_("Without VERSION: every version but the newest valid one, the usual case after a rotation."),
    ),
    epilog='lastgood secrets revoke TOKEN --reason "rotated: it was in a log"\n'
    'lastgood secrets revoke TOKEN 3f9ac2 --reason "leaked"',
)
def revoke(
    ctx: typer.Context,
    name: Name,
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help=N_("Its first digits, as lastgood secrets list shows them.")),
    ] = "",
    reason: Reason = "",
) -> None:
    """Refuse a version from now on."""
    from lastgood.cli.session import Session

    session = Session(ctx)
    revoked = session.service.secrets.revoke(name, version, reason=reason)
    session.document(revoked)
    if not session.json:
        from lastgood.cli.secrets_view import revoked_lines

        session.show(*revoked_lines(session.t, revoked))


@app.command(
    cls=Command,
    help=N_(
        "Reads the new value from standard input (never from the command line) or a file, and seals it as "
        "the newest version: so a way back has a valid one, even if nothing was deployed since the rotation."
    ),
    epilog='lastgood secrets renew TOKEN --reason "rotated" < /run/new-token\n'
    "lastgood secrets renew TOKEN --from-file /run/new-token --unit 'shop@prod/*'",
)
def renew(
    ctx: typer.Context,
    name: Name,
    from_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help=N_("Read it there instead of standard input."))
    ] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="UNIT", help=N_("For which units, where they have different values; a pattern may be.")
        ),
    ] = None,
    reason: Reason = "",
) -> None:
    """Give a new value."""
    from lastgood.cli.session import Session

    session = Session(ctx)
    value = "" if from_file else _value(session.t.text(N_("New value of {name}: "), name=name))
    file = str(from_file.resolve()) if from_file else ""
    renewed = session.service.secrets.renew(name, value, file=file, units=unit or (), reason=reason)
    session.document(renewed)
    if not session.json:
        from lastgood.cli.secrets_view import renewed_lines

        session.show(*renewed_lines(session.t, renewed))


def _value(prompt: str) -> str:
    """Standard input without the newline at its end; on a terminal it is asked for and not shown."""
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass(prompt)
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
