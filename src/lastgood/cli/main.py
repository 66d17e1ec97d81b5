"""The entry point ``lastgood``: finds the command by name, and says errors in one place."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from lastgood.cli.helping import JSON, PARAGRAPH, write_help
from lastgood.cli.options import FOREIGN, LANGUAGES, Options, check_language, hoist
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.translation import translator

COMMANDS = {
    "init": ("init", N_("Start an estate: a small one that works.")),
    "lint": ("estate", N_("Find every mistake in the estate in one pass.")),
    "explain": ("estate", N_("Say which layer gave a key its value, and what it overrode.")),
    "render": ("estate", N_("Show or write the configuration of a unit.")),
    "adopt": ("baseline", N_("Keep what stands on a unit now as its first way back.")),
    "plan": ("plan", N_("Show what a deploy or a rollback would do; nothing is done.")),
    "deploy": ("rollout", N_("Move a unit to a commit, and follow it to the verdict; or many, in waves.")),
    "accept": ("rollout", N_("Call a release good before its guard window ends, with a reason.")),
    "rollback": ("rollout", N_("Take a unit back to its last good state, or all units of a change.")),
    "restore": ("restore", N_("Take a database back to a snapshot, with what was written since.")),
    "stop": ("rollout", N_("Let a change begin no further unit, with a reason.")),
    "status": ("status", N_("Where every unit is, and whether there is a way back.")),
    "history": ("history", N_("What was done to a unit, and its restore points.")),
    "show": ("history", N_("One rollout: its steps, what was measured, its incident; or one change.")),
    "drift": ("drift", N_("Find what differs on a unit from what was released.")),
    "heal": ("drift", N_("Have a unit again as it was released: files, processes, traffic.")),
    "prove": ("prove", N_("Prove that a unit can be taken back, while nothing is wrong.")),
    "bundle": ("bundle", N_("Write a restore point as plain files, for the day without lastgood.")),
    "expire": ("expire", N_("Discard old copies of a unit's databases, once you have seen which.")),
    "unfreeze": ("freeze", N_("Allow changes to a unit again, with a reason.")),
    "quarantine": ("quarantine", N_("What failed and is refused everywhere until it is lifted.")),
    "secrets": ("secrets", N_("Versions of secrets: revoke one, so that it never returns; give a new one.")),
    "run": ("runner", N_("Be the runner in the foreground, for a service manager.")),
    "audit": ("audit", N_("Who did what, when and why; and whether the record is whole.")),
    "demo": ("demonstration", N_("A shop breaks and comes back, before your eyes.")),
}
EXAMPLE = """lastgood status
lastgood plan storefront@prod/us
lastgood rollback storefront@prod/us"""


class Commands(TyperGroup):
    """All commands by name; a command's module is imported when it is called."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoist(args))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        name, summary = COMMANDS[cmd_name]
        module = import_module(f"lastgood.cli.{name}")
        if cmd_name in FOREIGN:
            return module.load()
        found = get_command(module.app)
        if cmd_name in getattr(found, "commands", {}):
            found = found.commands[cmd_name]  # type: ignore[attr-defined]
        found.help = PARAGRAPH.join(filter(None, (summary, found.help)))
        return found

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise _unknown(args[0])
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        t = translator()
        rows = [(name, t.text(summary)) for name, (_, summary) in COMMANDS.items()]
        write_help(formatter, self, ctx, [(N_("Commands"), rows)])


def _unknown(name: str) -> InvalidInput:
    from difflib import get_close_matches

    near = ", ".join(get_close_matches(name, COMMANDS))
    todo = N_("Did you mean {near}? See lastgood --help.") if near else N_("See lastgood --help.")
    return InvalidInput(N_("there is no command {name}"), todo=todo, name=name, near=near)


def _speak(value: str) -> str:
    if value:
        os.environ["LASTGOOD_LANG"] = LANGUAGES[check_language(value)]
    return value


def _version(value: bool) -> None:
    if value:
        from lastgood import __version__

        typer.echo(f"lastgood {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=N_("Takes an environment back to its last good state: configuration, image and database together."),
    epilog=EXAMPLE,
)


@app.callback(invoke_without_command=True)
def everything(
    ctx: typer.Context,
    lang: Annotated[
        str,
        typer.Option(metavar="en|zh", help=N_("The language of messages."), callback=_speak, is_eager=True),
    ] = "",
    estate: Annotated[
        Path | None, typer.Option(metavar="DIR", help=N_("The estate, if not the one around here."))
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=N_("What lastgood knows; .lastgood in the estate if not said.")),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help=JSON)] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help=N_("Show the version and end."), callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Fill the options that every command may ask for."""
    ctx.obj = Options(estate, state, lang, json)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Nothing of a user's mistake ends in a stack trace."""
    from lastgood.cli.errors import guarded, install_crash_report

    words = list(sys.argv[1:] if arguments is None else arguments)
    install_crash_report(words)
    return guarded(words, lambda: _invoke(words))


def _invoke(words: list[str]) -> None:
    group = get_command(app)
    with group.make_context("lastgood", words) as context:
        group.invoke(context)
