"""Traffic, signals and evidence of a unit behind nginx."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.domain.criterion import Signal
from lastgood.domain.digest import digest
from lastgood.domain.errors import DriverError, InvalidInput, Rejected
from lastgood.domain.message import N_
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.unit import UnitId
from lastgood.drivers.nginx.bundle import route_by_hand
from lastgood.drivers.nginx.control import TAIL, Nginx
from lastgood.drivers.nginx.place import PERMILLE
from lastgood.drivers.nginx.routes import upstream_of
from lastgood.drivers.nginx.sessions import Sessions
from lastgood.drivers.nginx.settings import Settings, reachable
from lastgood.drivers.nginx.signals import Signals
from lastgood.drivers.nginx.traffic import Traffic
from lastgood.drivers.nginx.view import View
from lastgood.ports.bundles import BundlePart
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Reading
from lastgood.ports.traffic import Destination, Leave, Share

EXACT = 1e-6


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> NginxDriver:
    """Entry point. Raises InvalidInput naming the wrong or missing setting.

    Built for a signal alone, the traffic settings of its unit come as ``target``. Where nginx's processes
    can't be seen, the driver can't drain.
    """
    target = settings.get("target")
    read = Settings.of(unit, target if isinstance(target, Mapping) else settings)
    return NginxDriver(read) if read.pid is None else DrainingNginxDriver(read)


class NginxDriver:
    """ShiftsTraffic, SplitsTraffic, Measures, Observes, GivesEvidence and BundlesTraffic for one unit.

    Where requests go is a link that nginx resolves at every request: going to an upstream that nginx knows is
    an atomic rename; a new one is made known first, by a reload that moves no traffic.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nginx = Nginx(settings)
        self._view = View(settings)
        self._traffic = Traffic(settings, self._nginx, self._view)
        self._signals = Signals(settings, self._names_of)

    # ShiftsTraffic

    def install(self) -> None:
        self._traffic.install()

    def route(self, destination: Destination, leave: Leave = Leave.DRAIN) -> None:
        """Both ways of leaving are the same where nginx's processes can't be seen: open requests finish where
        they are.
        """
        self._traffic.send([(upstream_of(destination, self._settings), PERMILLE)])

    def current(self) -> Destination:
        return next(iter(self._traffic.parts()))

    def address(self) -> str:
        return reachable(self._settings.listen)

    # SplitsTraffic

    def split(self, shares: Sequence[Share]) -> None:
        """In tenths of a percent. Raises InvalidInput for shares that are none."""
        wanted = [(upstream_of(s.destination, self._settings), s.percent * PERMILLE / 100) for s in shares]
        counts = [(upstream, round(count)) for upstream, count in wanted]
        fine = all(upstream.destination.addresses for upstream, _ in wanted)
        fine = fine and all(count >= 0 and abs(count - round(count)) < EXACT for _, count in wanted)
        fine = fine and len({upstream.id for upstream, _ in wanted}) == len(wanted)
        if not fine or sum(count for _, count in counts) != PERMILLE:
            raise InvalidInput(
                N_("the shares {percents} can't be had"),
                todo=N_("Give each destination once, in tenths of a percent that add up to 100."),
                where=str(self._settings.unit),
                percents=", ".join(f"{share.percent:g}" for share in shares) or "-",
            )
        self._traffic.send([(upstream, count) for upstream, count in counts if count])

    def shares(self) -> tuple[Share, ...]:
        parts = self._traffic.parts()
        return tuple(Share(d, count * 100 / PERMILLE) for d, count in parts.items() if d.addresses)

    # Observes

    def observe(self) -> Observation:
        """The fingerprint covers both files and where nginx says that requests go."""
        files = [_text(self._settings.file), _text(self._settings.location)]
        route, told = "missing", Destination()
        if self._traffic.is_installed():
            try:
                told, route = self.current(), "installed"
            except Rejected:
                route = "changed"
        facts = {
            "address": self.address(),
            "route": route,
            "generation": told.generation,
            "upstream": ", ".join(told.addresses),
        }
        return Observation(digest((files, facts)), datetime.now(UTC), facts)

    # Measures

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        return self._signals.begin(signal)

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        return self._signals.read(signal, cursor)

    def _names_of(self, generation: str) -> set[str]:
        upstreams = self._traffic.known().of_generation(generation)
        return {upstream.name(self._settings) for upstream in upstreams}

    # GivesEvidence

    def evidence(self) -> Sequence[EvidenceItem]:
        """What can't be had is replaced by the reason."""
        settings = self._settings
        items = [
            EvidenceItem("nginx-upstreams.conf", _text(settings.file).encode()),
            EvidenceItem("nginx-location.conf", _text(settings.location).encode()),
            EvidenceItem("nginx-shares.txt", self._shares_text().encode()),
            EvidenceItem("nginx-response.txt", self._view.probe().encode()),
        ]
        for name, path in (("nginx-access.log", settings.log), ("nginx-error.log", settings.error_log)):
            if path is not None:
                items.append(EvidenceItem(name, _tail(path)))
        return items

    def _shares_text(self) -> str:
        try:
            parts = self._traffic.parts()
        except DriverError as error:
            return f"{error}\n"
        return "".join(
            f"{count * 100 / PERMILLE:g} % {d.generation or '-'} {' '.join(d.addresses) or 'nowhere'}\n"
            for d, count in parts.items()
        )

    # BundlesTraffic

    def bundle_route(self, generation: str) -> BundlePart:
        return route_by_hand(self._settings, generation)


class DrainingNginxDriver(NginxDriver):
    """DrainsTraffic too, where the connections of nginx's workers can be seen and ended.

    Connections that the workers keep for later (``keepalive``) can't be told from used ones, and count.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._sessions = Sessions(self._nginx)

    def install(self) -> None:
        """The first time it also shows that open sessions could be ended, while nobody needs it yet."""
        if not self._traffic.is_installed():
            self._sessions.prove()
        super().install()

    def route(self, destination: Destination, leave: Leave = Leave.DRAIN) -> None:
        """A cut gives what is open ``cut_after`` seconds to end by itself."""
        super().route(destination, leave)
        if leave is Leave.CUT:
            left = {a for u in self._traffic.known().upstreams for a in u.destination.addresses}
            self._sessions.end(left - set(destination.addresses), self._settings.cut_after)

    def open_requests(self, generation: str) -> int:
        """At its addresses; where another generation that gets requests has one of them, not there."""
        addresses, busy, is_used = self._addresses(generation)
        return len(self._sessions.open(addresses if is_used else addresses - busy))

    def close(self, generation: str) -> None:
        addresses, busy, is_used = self._addresses(generation)
        if not is_used:
            self._sessions.end(addresses - busy, grace=0.0)

    def _addresses(self, generation: str) -> tuple[set[str], set[str], bool]:
        """Its addresses, those that get requests now, and whether it gets any itself."""
        if not self._traffic.is_installed():
            return set(), set(), False
        parts = self._traffic.parts()
        known = self._traffic.known().of_generation(generation)
        return (
            {address for upstream in known for address in upstream.destination.addresses},
            {address for destination in parts for address in destination.addresses},
            any(destination.generation == generation for destination in parts),
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"{error.strerror}\n"


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return file.read(TAIL)
    except OSError as error:
        return f"{error.strerror}\n".encode()
