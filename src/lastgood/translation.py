"""Messages in the reader's language; English when there is no catalogue or no translation."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lastgood.domain.message import Message

if TYPE_CHECKING:
    from gettext import GNUTranslations

CATALOGUES = Path(__file__).parent / "locale"
PLACEHOLDER = re.compile(r"\{(\w+)\}")
LEAST_OWN_WORDS = 10
"""Characters; shorter templates are not looked for in text that was filled before."""
VARIABLES = ("LASTGOOD_LANG", "LC_ALL", "LC_MESSAGES", "LANG")


class Translator:
    """Says messages in one language; the catalogue is read at the first message that needs it."""

    def __init__(self, locale: str) -> None:
        self.locale = locale

    def __call__(self, message: Message) -> str:
        """What is filled in is translated too where it is a message itself, or was one."""
        if self._catalogue is None:
            return str(message)
        params = {name: self._filling(value) for name, value in message.params.items()}
        return str(Message(self._translate(message.template), params))

    def text(self, template: str, **params: Any) -> str:
        """A sentence that a face makes itself; ``template`` is marked with ``N_`` where it is written."""
        return self(Message(template, params))

    def retell(self, sentence: str) -> str:
        """Translate an English sentence that was filled before: finds the template it came from.

        For text that is kept filled, such as a finding's reason. Unchanged when nothing fits.
        """
        known = self._translate(sentence)
        if known != sentence:
            return known
        for pattern, template in self._patterns:
            if match := pattern.fullmatch(sentence):
                return self.text(template, **match.groupdict())
        return sentence

    def _filling(self, value: Any) -> Any:
        if isinstance(value, Message):
            return self(value)
        return self.retell(value) if isinstance(value, str) else value

    def _translate(self, template: str) -> str:
        if not template or self._catalogue is None:
            return template
        return self._catalogue.gettext(template)

    @cached_property
    def _catalogue(self) -> GNUTranslations | None:
        path = CATALOGUES / self.locale / "LC_MESSAGES" / "lastgood.mo"
        if not path.is_file():
            return None
        from gettext import GNUTranslations  # an emergency in English doesn't wait for it

        with path.open("rb") as file:
            return GNUTranslations(file)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """Templates with something to fill in, the most telling (longest) first."""
        if self._catalogue is None:
            return []
        catalogue: Mapping[Any, str] = vars(self._catalogue)["_catalog"]
        filled = [key for key in catalogue if isinstance(key, str) and "{" in key and _telling(key)]
        return [(_pattern(template), template) for template in sorted(filled, key=len, reverse=True)]


def _telling(template: str) -> bool:
    """Whether so much is said in words of its own that a sentence can't fit by accident."""
    return len(PLACEHOLDER.sub("", template)) >= LEAST_OWN_WORDS


def _pattern(template: str) -> re.Pattern[str]:
    seen: set[str] = set()
    parts = []
    for position, part in enumerate(PLACEHOLDER.split(template)):
        if position % 2 == 0:
            parts.append(re.escape(part))
        elif part in seen:
            parts.append(f"(?P={part})")
        else:
            seen.add(part)
            parts.append(f"(?P<{part}>.+?)")
    return re.compile("".join(parts), re.DOTALL)


def chosen_locale(environment: Mapping[str, str] | None = None) -> str:
    """``zh_CN`` or ``en``: the first of ``VARIABLES`` that is set decides."""
    variables = os.environ if environment is None else environment
    wanted = next((variables[name] for name in VARIABLES if variables.get(name)), "")
    return "zh_CN" if wanted.lower().startswith("zh") else "en"


@lru_cache
def _translator(locale: str) -> Translator:
    return Translator(locale)


def translator(locale: str | None = None) -> Translator:
    """The translator of ``locale`` (``en``, ``zh_CN``), of the environment's when not given."""
    return _translator(locale or chosen_locale())
