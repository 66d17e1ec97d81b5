"""Text for people, kept as template and parameters until a face knows the reader's language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def N_(template: str) -> str:  # noqa: N802 - gettext's own name for "translate later"
    """Mark a template for the catalogues without translating it here."""
    return template


@dataclass(frozen=True)
class Message:
    """A sentence for the user: an English template (the catalogue key) and what fills it."""

    template: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template.format_map(dict(self.params)) if self.params else self.template

    def __bool__(self) -> bool:
        return bool(self.template)
