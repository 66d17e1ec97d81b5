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
from lastgood.ports.traffic import Destination, Leave, Share


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> FakeTraffic:
    """Like an entry point; keeps its state in the driver's directory, so that it outlives a process."""
    return FakeTraffic(unit, tools.directory / f"fake-traffic-{unit.slug}.json")


class FakeTraffic:
    """ShiftsTraffic, SplitsTraffic, DrainsTraffic, Observes and GivesEvidence.

    ``calls`` lists what was asked of it. ``before`` and ``after`` are called with a verb (``install``,
    ``route``, ``split``, ``close``, ``current``) around each effect: raise in them to play a broken proxy or
    a lost answer. ``ask`` and ``hold`` play customers.
    """

    def __init__(self, unit: UnitId, path: Path | None = None, listen: str = "127.0.0.1:80") -> None:
        self._unit = unit
        self._path = path
        self._listen = listen
        self._memory: dict[str, Any] = {}
        self.calls: list[tuple[str, Destination | None]] = []
        self.before: Callable[[str], None] = _nothing
        self.after: Callable[[str], None] = _nothing

    def ask(self) -> tuple[int, str]:
        """One request of a customer: (status, generation), dealt out in turn by the shares."""
        state = self._read()
        shares = _shares(state)
        if not shares:
            return 503, ""
        dealt = dict(state.get("dealt", {}))
        total = sum(dealt.values()) + 1
        chosen = max(shares, key=lambda s: s.percent * total / 100 - dealt.get(s.destination.generation, 0))
        generation = chosen.destination.generation
        self._write({**state, "dealt": {**dealt, generation: dealt.get(generation, 0) + 1}})
        return 200, generation

    def hold(self, count: int = 1) -> str:
        """Open that many requests where they go now; a negative count ends them. Returns the generation."""
        generation = self.current().generation
        self._open(generation, self.open_requests(generation) + count)
        return generation

    def install(self) -> None:
        self.calls.append(("install", None))
        self.before("install")
        self._write({"shares": [], "open": {}, **self._read()})
        self.after("install")

    def route(self, destination: Destination, leave: Leave = Leave.DRAIN) -> None:
        if destination.generation and not destination.addresses:
            raise _no_address(destination)
        self.calls.append(("route", destination))
        self.before("route")
        somewhere = bool(destination.addresses)
        self._set([Share(destination, 100.0)] if somewhere else [])
        if leave is Leave.CUT:
            state = self._read()
            stays = {k: v for k, v in state["open"].items() if somewhere and k == destination.generation}
            self._write({**state, "open": stays})
        self.after("route")

    def current(self) -> Destination:
        self.before("current")
        shares = _shares(self._read())
        return shares[0].destination if shares else Destination()

    def address(self) -> str:
        return self._listen

    def split(self, shares: Sequence[Share]) -> None:
        for share in shares:
            if share.percent > 0 and not share.destination.addresses:
                raise _no_address(share.destination)
        twice = len({share.destination for share in shares}) < len(shares)
        if twice or abs(sum(s.percent for s in shares) - 100) > 0.01 or any(s.percent < 0 for s in shares):
            raise InvalidInput(N_("the shares are no shares of one whole"))
        self.calls += [("split", share.destination) for share in shares]
        self.before("split")
        self._set(shares)
        self.after("split")

    def shares(self) -> tuple[Share, ...]:
        return _shares(self._read())

    def open_requests(self, generation: str) -> int:
        return int(self._read().get("open", {}).get(generation, 0))

    def close(self, generation: str) -> None:
        self.calls.append(("close", Destination(generation)))
        self.before("close")
        if all(share.destination.generation != generation for share in self.shares()):
            self._open(generation, 0)
        self.after("close")

    def observe(self) -> Observation:
        state = {key: value for key, value in self._read().items() if key != "dealt"}
        return Observation(digest(state), datetime.now(UTC), state)

    def evidence(self) -> Sequence[EvidenceItem]:
        return (EvidenceItem("traffic.json", json.dumps(self._read()).encode()),)

    def _set(self, shares: Sequence[Share]) -> None:
        state = self._read()
        if not state:
            raise Rejected(
                N_("the route of {unit} is not installed"),
                todo=N_("Install it first; a deploy does."),
                where=str(self._unit),
                unit=str(self._unit),
            )
        kept = [
            [s.destination.generation, list(s.destination.addresses), s.percent]
            for s in shares
            if s.percent > 0
        ]
        self._write({**state, "shares": kept, "dealt": {}})

    def _open(self, generation: str, count: int) -> None:
        state = self._read()
        if state:
            self._write({**state, "open": {**state["open"], generation: max(0, count)}})

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


def _shares(state: Mapping[str, Any]) -> tuple[Share, ...]:
    there = [Share(Destination(g, tuple(a)), float(percent)) for g, a, percent in state.get("shares", ())]
    return tuple(sorted(there, key=lambda share: -share.percent))


def _no_address(destination: Destination) -> InvalidInput:
    return InvalidInput(N_("the generation '{generation}' has no address"), generation=destination.generation)


def _nothing(verb: str) -> None:
    return None
