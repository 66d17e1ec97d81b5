"""A signal source whose events are made by the test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.unit import UnitId
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Reading


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> FakeSignal:
    """Like an entry point; its events lie in the driver's directory, so that they outlive a process."""
    return FakeSignal(tools.directory / f"fake-signal-{unit.slug}.json")


class FakeSignal:
    """Measures. ``happen`` makes events; ``down`` is the reason why it can't answer, empty when it can."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._memory: dict[str, Any] = {"good": 0, "total": 0, "value": None, "down": ""}

    def happen(self, *, good: int = 0, bad: int = 0) -> None:
        state = self._read()
        self._write({**state, "good": int(state["good"]) + good, "total": int(state["total"]) + good + bad})

    def set_value(self, value: float | None) -> None:
        """What a gauge reads from now on; None is no data."""
        self._write({**self._read(), "value": value})

    def set_down(self, reason: str) -> None:
        self._write({**self._read(), "down": reason})

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        state = self._read()
        return {"from": [int(state["good"]), int(state["total"])]}

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        state = self._read()
        if state["down"]:
            return Reading(cursor, error=str(state["down"]))
        if signal.kind is SignalKind.GAUGE:
            return Reading(cursor, value=state["value"])
        good, total = cursor["from"]
        return Reading(cursor, int(state["good"]) - int(good), int(state["total"]) - int(total))

    def _read(self) -> dict[str, Any]:
        if self._path is None or not self._path.exists():
            return self._memory
        return dict(json.loads(self._path.read_text()))

    def _write(self, state: dict[str, Any]) -> None:
        self._memory = state
        if self._path is not None:
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(state))
            temporary.replace(self._path)
