"""Remembers when we saw a container start, so that a restart by somebody else can be told from ours."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.domain.unit import UnitId
from lastgood.drivers.docker.instance import Instance


class Starts:
    """Start times by container id, in a file of the driver's own. Its loss loses nothing but this knowledge."""

    def __init__(self, unit: UnitId, directory: Path) -> None:
        self._file = directory / f"{unit.slug}.starts.json"

    def of(self, id: str) -> float:
        """0 when nothing is known."""
        return self._read().get(id, 0.0)

    def keep(self, seen: Iterable[Instance], existing: Iterable[str]) -> None:
        """Note the start times of ``seen``; what is not ``existing`` any more is forgotten."""
        there = {*existing}
        known = {id: at for id, at in self._read().items() if id in there}
        known |= {one.id: one.started for one in seen if one.started}
        half = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            half.write_text(json.dumps(known))
            half.replace(self._file)
        except OSError as error:
            half.unlink(missing_ok=True)
            raise Rejected(
                N_("{path} can't be written: {reason}"),
                todo=N_("Free space in the state directory, or give its owner back the right to write."),
                where=str(self._file),
                path=str(self._file),
                reason=error.strerror or str(error),
            ) from error

    def _read(self) -> dict[str, float]:
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
