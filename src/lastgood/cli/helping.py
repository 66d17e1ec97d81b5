"""Help in the reader's language, within 80 columns, without importing the command's machinery."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

from lastgood.domain.message import N_
from lastgood.translation import Translator, translator

WIDTH = 80
PARAGRAPH = "\n\n"
LEFT = 30
"""Columns of the names in a list; a longer name has its line for itself."""


def cells(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def wrap(text: str, width: int) -> Iterator[str]:
    """Break at spaces, and between wide characters, which have none."""
    line = ""
    for piece in _pieces(text):
        if line and cells(line + piece.rstrip()) > width:
            yield line.rstrip()
            line = piece.lstrip()
        else:
            line += piece
    if line.strip():
        yield line.rstrip()


def _pieces(text: str) -> Iterator[str]:
    word = ""
    for character in text:
        wide = unicodedata.east_asian_width(character) in "WF"
        if wide and word and character not in "，。；：！？、）》":
            yield word
            word = ""
        word += character
        if character == " ":
            yield word
            word = ""
    yield word


def listed(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names on the left, what they mean on the right."""
    rows = list(rows)
    left = min(LEFT, max((cells(name) for name, _ in rows), default=0) + 2)
    for name, text in rows:
        lines = list(wrap(text, WIDTH - left - 2)) or [""]
        if cells(name) > left - 2:
            yield f"  {name}"
        else:
            yield f"  {name}{' ' * (left - cells(name))}{lines.pop(0)}".rstrip()
        yield from (f"  {' ' * left}{line}" for line in lines)


def parameters(command: Any, context: Any, t: Translator) -> tuple[list[tuple[str, str]], ...]:
    """(arguments, options) as rows."""
    arguments, options = [], []
    for parameter in command.get_params(context):
        if getattr(parameter, "hidden", False):
            continue
        text = t.text(getattr(parameter, "help", None) or "")
        if parameter.param_type_name == "argument":
            arguments.append((parameter.metavar or parameter.name.upper(), text))
            continue
        if parameter.name == "help":
            text = t.text(N_("Show this and end."))
        if parameter.required:
            text += t.text(N_(" (needed)"))
        names = ", ".join(parameter.opts)
        if not parameter.is_flag:
            names += f" {parameter.metavar or parameter.name.upper()}"
        options.append((names, text))
    return arguments, options


def write_help(formatter: Any, command: Any, context: Any, sections: Sequence[tuple[str, Any]] = ()) -> None:
    """Usage, what it does, its parameters, more sections, an example."""
    t = translator()
    arguments, options = parameters(command, context, t)
    names = [name for name, _ in arguments]
    nested = ["COMMAND", "…"] if isinstance(command, TyperGroup) else []
    usage = " ".join([context.command_path, *names, *nested, "[OPTIONS]"])
    lines = [*wrap(t.text(N_("Usage: {usage}"), usage=usage), WIDTH), ""]
    for paragraph in (command.help or "").split(PARAGRAPH):
        lines += [*wrap(t.text(paragraph), WIDTH - 2), ""]
    for title, rows in (
        *sections,
        (N_("Arguments"), arguments),
        (N_("Options"), options),
        (N_("With every command"), everywhere(t) if context.parent else []),
    ):
        if rows:
            lines += [f"{t.text(title)}:", *listed(rows), ""]
    if command.epilog:
        lines += [t.text(N_("Example:")), *(f"  {line}" for line in command.epilog.splitlines()), ""]
    formatter.write("\n".join(lines).rstrip() + "\n")


def everywhere(t: Translator) -> list[tuple[str, str]]:
    """The global options, which may stand anywhere."""
    return [
        ("--json", t.text(JSON)),
        ("--estate, --state, --lang", t.text(N_("See lastgood --help."))),
    ]


JSON = N_("Print data as JSON instead of text.")


class Command(TyperCommand):
    """One command, explained in the reader's language."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write_help(formatter, self, ctx)


class Group(TyperGroup):
    """A group of commands that are loaded with it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        t = translator()
        names = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, t.text((c.help or "").split(PARAGRAPH)[0])) for name, c in names if c is not None]
        write_help(formatter, self, ctx, [(N_("Commands"), rows)])
