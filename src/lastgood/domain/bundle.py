"""A restore bundle: a restore point as plain files with a readable script, for the day without lastgood."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lastgood.domain.unit import UnitId


@dataclass(frozen=True)
class Bundle:
    """Written to ``directory``; ``size`` in bytes. ``needs``: the commands its script calls."""

    unit: UnitId
    point: str
    release: str
    directory: Path
    size: int
    needs: tuple[str, ...]
