"""A traffic driver without a proxy: remembers where requests would go, in memory or in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.domain.digest import digest
from lastgood.domain.errors import InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.unit import UnitId
from lastgood.ports.content import DriverTools
from lastgood.ports.traffic import Destination, Leave


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> FakeTraffic:
    """Like an entry point; keeps its state in the driver's directory, so that it outlives a process."""
    return FakeTraffic(unit, tools.directory / f"fake-traffic-{unit.slug}.json")


class FakeTraffic:
    """ShiftsTraffic, Observes and GivesEvidence.

    ``calls`` lists what was asked of it. ``before`` and ``after`` are called with a verb (``install``,
    ``route``, ``current``) around each effect: raise in them to play a broken proxy or a lost answer.
    """

    def __init__(self, unit: UnitId, path: Path | None = None, listen: str = "127.0.0.1:80") -> None:
        self._unit = unit
        self._path = path
        self._listen = listen
        self._memory: dict[str, Any] = {}
        self.calls: list[tuple[str, Destination | None]] = []
        self.before: Callable[[str], None] = _nothing
        self.after: Callable[[str], None] = _nothing

    def install(self) -> None:
        self.calls.append(("install", None))
        self.before("install")
        self._write({"generation": "", "addresses": [], **self._read()})
        self.after("install")

    def route(self, destination: Destination, leave: Leave = Leave.DRAIN) -> None:
        if destination.generation and not destination.addresses:
            raise InvalidInput(
                N_("the generation '{generation}' has no address"), generation=destination.generation
            )
        self.calls.append(("route", destination))
        self.before("route")
        if not self._read():
            raise Rejected(
                N_("the route of {unit} is not installed"),
                todo=N_("Install it first; a deploy does."),
                where=str(self._unit),
                unit=str(self._unit),
            )
        self._write({"generation": destination.generation, "addresses": list(destination.addresses)})
        self.after("route")

    def current(self) -> Destination:
        self.before("current")
        state = self._read()
        return Destination(state.get("generation", ""), tuple(state.get("addresses", ())))

    def address(self) -> str:
        return self._listen

    def observe(self) -> Observation:
        state = self._read()
        return Observation(digest(state), datetime.now(UTC), state)

    def evidence(self) -> Sequence[EvidenceItem]:
        return (EvidenceItem("traffic.json", json.dumps(self._read()).encode()),)

    def _read(self) -> dict[str, Any]:
        if self._path is None:
            return self._memory
        try:
            return dict(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return {}

    def _write(self, state: dict[str, Any]) -> None:
        self._memory = state
        if self._path is not None:
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(state))
            temporary.replace(self._path)


def _nothing(verb: str) -> None:
    return None
