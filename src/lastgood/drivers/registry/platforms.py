"""Which of an index's images runs on a platform."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DEFAULTS = {"amd64": 1, "arm64": 8, "arm": 7}
"""The level that an architecture without a variant means."""


@dataclass(frozen=True)
class Platform:
    """``linux/arm64/v8``: operating system, architecture and, where there are several, its variant."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Platform:
        """As an index or a config writes it; what is not said is empty."""
        parts = (said.get(key) for key in ("os", "architecture", "variant"))
        return cls(*(part if isinstance(part, str) else "" for part in parts))

    @property
    def level(self) -> int:
        """7 of ``v7``; a processor runs what was built for its own level or a lower one."""
        matched = re.fullmatch(r"v([0-9]+)", self.variant)
        return int(matched[1]) if matched else _DEFAULTS.get(self.architecture, 0)

    def runs(self, built: Platform) -> bool:
        """Whether what was ``built`` for another platform runs on this one."""
        same = (built.os, built.architecture) == (self.os, self.architecture)
        return same and built.level <= self.level


def best(wanted: Platform, offered: Sequence[Platform]) -> int | None:
    """Which of ``offered`` runs on ``wanted`` and uses most of it; None when none does."""
    fit = [number for number, platform in enumerate(offered) if wanted.runs(platform)]
    return max(fit, key=lambda number: offered[number].level) if fit else None
