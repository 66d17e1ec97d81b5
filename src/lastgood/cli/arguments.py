"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from lastgood.cli.helping import PARAGRAPH, Command, Group
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

Unit = Annotated[
    str, typer.Argument(metavar="UNIT", help=N_("service@environment/site, for example storefront@prod/us."))
]
Units = Annotated[
    list[str],
    typer.Argument(
        metavar="UNIT…",
        help=N_("service@environment/site; several, or a pattern in quotes such as 'shop@prod/*': in waves."),
    ),
]
Revision = Annotated[
    str,
    typer.Option(
        "--commit", metavar="REV", help=N_("A commit, branch or tag of the estate; HEAD if not said.")
    ),
]
Worktree = Annotated[
    str, typer.Option("--commit", metavar="REV", help=N_("A commit instead of the files as they lie there."))
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help=N_("Why; it is kept in the audit."))]
NoRehearsal = Annotated[
    bool,
    typer.Option(
        "--no-rehearsal", help=N_("Don't try migrations on a copy first: the rollout does, before it begins.")
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help=N_("Don't ask."))]
Detach = Annotated[bool, typer.Option("--detach", help=N_("Don't follow; the runner does the work anyway."))]


def commands() -> typer.Typer:
    """An app for the commands of one noun."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, cls=Group)


def only(units: list[str]) -> str:
    """The one unit that is meant. Raises InvalidInput when there are several."""
    if len(units) > 1:
        raise InvalidInput(
            N_("this goes with one unit at a time; {count} are named"),
            todo=N_("Name one of them; a whole change goes back with: lastgood rollback --change CHANGE"),
            count=len(units),
        )
    return units[0]


def paragraphs(*texts: str) -> str:
    """Help in several paragraphs, each of them a message of its own."""
    return PARAGRAPH.join(texts)


__all__ = [
    "Command", "Detach", "NoRehearsal", "Reason", "Revision", "Unit", "Units", "Worktree", "Yes", "commands",
    "only", "paragraphs",
]  # fmt: skip
