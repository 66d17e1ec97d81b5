"""Remembers when a generation was last asked to run: what somebody did to its containers later is drift."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from lastgood.domain.unit import UnitId

KEPT = 50


class Asked:
    """Times of the engine's clock by generation, in a file of the driver's own.

    Its loss loses nothing but this knowledge, so it never stops a start.
    """

    def __init__(self, unit: UnitId, directory: Path) -> None:
        self._file = directory / f"{unit.slug}.asked.json"

    def at(self, generation: str) -> float:
        """0 when nothing is known."""
        return self._read().get(generation, 0.0)

    def note(self, generation: str, at: float) -> None:
        known = self._read() | {generation: at}
        newest = dict(sorted(known.items(), key=lambda item: item[1])[-KEPT:])
        half = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            half.write_text(json.dumps(newest))
            half.replace(self._file)

    def _read(self) -> dict[str, float]:
        try:
            found = json.loads(self._file.read_bytes())
            return {str(generation): float(at) for generation, at in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
