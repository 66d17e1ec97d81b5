"""What of this machine goes back with a database: lastgood must never take its own memory back with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Rewinds(Protocol):
    """Names the files that a restore of a database puts back. No I/O.

    A function of the module of a driver's factory: ``lint`` builds no driver. A server that a restore changes
    by SQL alone has none.
    """

    def rewound(self, settings: Mapping[str, Any]) -> Sequence[Path]:
        """Files, or directories with all that is in them. ``settings`` as they are in the release."""


class Rewinders(Protocol):
    """Finds who says it for a driver; implemented by the composition root."""

    def of(self, driver: str) -> Rewinds | None:
        """None: it is not installed, or its restores put no file back."""


@dataclass(frozen=True)
class OwnState:
    """``directory``: everything that lastgood knows, and keeps, is in it."""

    directory: Path
    rewinders: Rewinders
