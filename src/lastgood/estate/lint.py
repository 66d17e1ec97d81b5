"""Every mistake of an estate in one pass."""

from __future__ import annotations

from typing import Any

from lastgood.ports.estate import Problem


def lint(estate: Any) -> list[Problem]:
    return []
