"""What holds for every command: where things are, the language, and whether data is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

VALUED = ("--estate", "--state", "--lang")
FLAGS = ("--json",)
FOREIGN = ("demo",)
"""Groups of commands that read their own options."""
LANGUAGES = {"en": "en", "zh": "zh_CN"}


@dataclass
class Options:
    """Filled by the callback of the outermost group; ``lang`` is ``en``, ``zh`` or empty (environment)."""

    estate: Path | None = None
    state: Path | None = None
    lang: str = ""
    json: bool = False


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move the global options to the front, so that they may stand anywhere before ``--``."""
    front: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if word == "--" or (word in FOREIGN and not rest):
            rest += [word, *left]
            break
        if word in VALUED and left:
            front += [word, left.pop(0)]
        elif word in FLAGS or word.startswith(tuple(f"{name}=" for name in VALUED)):
            front.append(word)
        else:
            rest.append(word)
    return [*front, *rest]


def check_language(value: str) -> str:
    """The language's short name; ``zh_CN`` and the like are understood. Raises InvalidInput for another."""
    short = value.replace("-", "_").partition("_")[0].lower()
    if short not in LANGUAGES:
        raise InvalidInput(
            N_("'{language}' is not a language spoken here"),
            todo=N_("Choose en or zh."),
            where="--lang",
            language=value,
        )
    return short
