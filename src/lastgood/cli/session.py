"""One command at work: its service, its language, its terminal."""

from __future__ import annotations

import json
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from lastgood.bootstrap.places import find_places
from lastgood.bootstrap.service import Service
from lastgood.cli.options import Options
from lastgood.domain.digest import plain
from lastgood.domain.unit import UnitId
from lastgood.translation import Translator, translator

if TYPE_CHECKING:
    from rich.console import Console


class Session:
    """Built from a command's context; everything in it is made when it is first asked for."""

    def __init__(self, context: typer.Context) -> None:
        self.options: Options = context.find_root().obj

    @cached_property
    def service(self) -> Service:
        """Raises InvalidInput when there is neither an estate nor a state directory."""
        return Service(find_places(estate=self.options.estate, state=self.options.state))

    @cached_property
    def t(self) -> Translator:
        return translator()

    @cached_property
    def console(self) -> Console:
        from lastgood.cli.console import Console

        piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
        return Console(highlight=False, markup=False, emoji=False, width=100 if piped else None)

    @property
    def json(self) -> bool:
        return self.options.json

    @property
    def asks(self) -> bool:
        """Whether there is a person who can answer."""
        return sys.stdin.isatty() and sys.stdout.isatty() and not self.json

    @property
    def live(self) -> bool:
        """Whether a display can be drawn again and again."""
        return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not self.json

    def say(self, template: str, **params: Any) -> None:
        """A line for people; nothing where data is wanted."""
        if not self.json:
            print(self.t.text(template, **params))

    def show(self, *renderables: Any) -> None:
        if not self.json:
            self.console.print(*renderables)

    def document(self, value: Any) -> None:
        """The one JSON document of a command; nothing for people."""
        if self.json:
            print(json.dumps(plain(value), ensure_ascii=False, indent=2))

    def line(self, value: Any) -> None:
        """One of several JSON documents, a line each."""
        print(json.dumps(plain(value), ensure_ascii=False), flush=True)


def unit(text: str) -> UnitId:
    """Raises InvalidInput when the text is not service@environment/site."""
    return UnitId.parse(text)
