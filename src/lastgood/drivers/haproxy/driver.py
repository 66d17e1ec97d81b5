"""Traffic, signals and evidence of a unit behind HAProxy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.digest import digest
from lastgood.domain.errors import DriverError, Rejected
from lastgood.domain.message import N_
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.unit import UnitId
from lastgood.drivers.haproxy import metrics
from lastgood.drivers.haproxy.bundle import route_lines
from lastgood.drivers.haproxy.installing import Installing
from lastgood.drivers.haproxy.moves import Moves
from lastgood.drivers.haproxy.placing import WHOLE, refuse_impossible, refuse_unwhole
from lastgood.drivers.haproxy.proxies import Proxies
from lastgood.drivers.haproxy.record import Files, Record
from lastgood.drivers.haproxy.routing import Routing
from lastgood.drivers.haproxy.runtime import ALL, SERVERS, RuntimeApi
from lastgood.drivers.haproxy.servers import View
from lastgood.drivers.haproxy.settings import Settings, SignalSettings
from lastgood.drivers.haproxy.shares import shares_of, together
from lastgood.ports.bundles import BundlePart
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Reading
from lastgood.ports.traffic import Destination, Leave, Share


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> HaproxyDriver:
    """Entry point. Raises InvalidInput naming the wrong or missing setting.

    Built for a signal alone, the traffic settings of its unit come as ``target``.
    """
    target = settings.get("target")
    values = target if isinstance(target, Mapping) else settings
    return HaproxyDriver(Settings.of(unit, values, tools.directory))


class HaproxyDriver:
    """ShiftsTraffic, SplitsTraffic, DrainsTraffic, Measures, Observes, GivesEvidence and BundlesTraffic for
    one unit.

    Where requests go is in the addresses, weights and states of one backend's servers, changed at run time.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._apis = [RuntimeApi(socket, settings.backend) for socket in settings.sockets]
        self._files = Files(settings)
        self._routing = Routing(settings, self._apis, self._files)

    # ShiftsTraffic

    def install(self) -> None:
        """Idempotent; haproxy.cfg is the user's. Raises Rejected with the lines that are missing in it."""
        Installing(self._settings, self._apis, self._files).check()

    def route(self, destination: Destination, leave: Leave = Leave.DRAIN) -> None:
        """Draining, a server comes in when HAProxy's own check has passed, and the others leave after it. A
        cut waits for nothing, and is carried through at the HAProxies that answer.
        """
        shares = (Share(destination, WHOLE),)
        refuse_impossible(shares)
        self._routing.bring(shares, leave)

    def current(self) -> Destination:
        """Raises Rejected when several HAProxies don't agree."""
        seen = self._seen()
        first = _largest(seen[0][1])
        for view, shares in seen[1:]:
            if _largest(shares) != first:
                raise Rejected(
                    N_("the HAProxies don't agree: {one} sends requests to {there}, {other} to {here}"),
                    todo=N_("Send traffic again, lastgood heal does, or take one out of 'sockets'."),
                    where=str(self._settings.unit),
                    one=seen[0][0].socket,
                    there=_text(first),
                    other=view.socket,
                    here=_text(_largest(shares)),
                )
        return first

    def address(self) -> str:
        return self._settings.listen

    # SplitsTraffic

    def split(self, shares: Sequence[Share]) -> None:
        """By weights, which HAProxy deals out exactly when it balances roundrobin."""
        refuse_impossible(shares)
        refuse_unwhole(shares)
        self._routing.bring(shares, Leave.DRAIN)

    def shares(self) -> tuple[Share, ...]:
        """Of several HAProxies, their average."""
        return together([shares for _, shares in self._seen()])

    # DrainsTraffic

    def open_requests(self, generation: str) -> int:
        """Those of the process that runs now: one that was reloaded keeps its own until they end."""
        record, moves = self._record(), Moves(self._settings)
        behind = [s for v in Proxies(self._apis).look() for s in moves.behind(v, record, generation)]
        return sum(server.sessions for server in behind)

    def close(self, generation: str) -> None:
        self._routing.close(generation)

    def _record(self) -> Record:
        return self._files.record() or Record()

    def _seen(self) -> list[tuple[View, tuple[Share, ...]]]:
        record = self._record()
        return [(view, shares_of(view, record)) for view in Proxies(self._apis).look()]

    # Observes

    def observe(self) -> Observation:
        """The fingerprint covers address, state and weight of every server at every HAProxy."""
        seen = self._seen()
        servers = {
            view.socket: {
                name: f"{s.address} {s.admin.value} {s.weight}{'' if s.up else ' down'}"
                for name, s in view.servers.items()
            }
            for view, _ in seen
        }
        facts = {
            "backend": self._settings.backend,
            "address": self._settings.listen,
            "shares": {
                view.socket: {_text(share.destination): round(share.percent, 2) for share in shares}
                for view, shares in seen
            },
            "servers": servers,
            "saved for the next start": all(self._files.holds(view) for view, _ in seen),
        }
        return Observation(digest(facts), datetime.now(UTC), facts)

    # Measures

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        """With HAProxy down, counting begins at the first look that succeeds."""
        settings = SignalSettings.of(self._settings.unit, signal)
        looks, _ = self._look({}, settings)
        return metrics.advance({}, looks)

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        """ratio: requests answered with none of ``codes`` of all; gauge: average ms until the response.

        Of several HAProxies, those that answer.
        """
        settings = SignalSettings.of(self._settings.unit, signal)
        looks, error = self._look(cursor.get("marks", {}), settings)
        if not looks:
            return Reading(cursor, error=error)
        after = metrics.advance(cursor, looks)
        if signal.kind is SignalKind.RATIO:
            return Reading(after, after["good"], after["total"])
        return Reading(after, value=metrics.average(list(looks.values())))

    def _look(
        self, marks: Mapping[str, Any], settings: SignalSettings
    ) -> tuple[dict[str, metrics.Look], str]:
        """By socket, and why when there is none."""
        looks: dict[str, metrics.Look] = {}
        error = ""
        for api in self._apis:
            try:
                view, record = api.look(), self._record()
            except DriverError as failure:
                error = str(failure)
                continue
            now = metrics.lines(view, record, settings)
            looks[api.address] = metrics.look(marks.get(api.address), view.process, now, settings)
        return looks, error

    # GivesEvidence

    def evidence(self) -> Sequence[EvidenceItem]:
        """What can't be had is replaced by the reason."""
        backend = self._settings.backend
        asked = {
            "servers.txt": f"show servers state {backend}",
            "stat.csv": f"show stat {ALL} {SERVERS}",
            "info.txt": "show info",
        }
        items = [EvidenceItem("haproxy-observed.json", _said(self._observed_text).encode())]
        for number, api in enumerate(self._apis, 1):
            prefix = f"haproxy-{number}" if len(self._apis) > 1 else "haproxy"
            for name, command in asked.items():
                text = _said(lambda api=api, command=command: api.text(command))  # type: ignore[misc]
                items.append(EvidenceItem(f"{prefix}-{name}", text.encode()))
        return items

    def _observed_text(self) -> str:
        return json.dumps(self.observe().facts, indent=2) + "\n"

    # BundlesTraffic

    def bundle_route(self, generation: str) -> BundlePart:
        """``socat`` and ``awk`` do it; slots out of service are filled, and all others leave at once."""
        return BundlePart(route_lines(self._settings, generation), needs=("socat", "awk"))


def _largest(shares: Sequence[Share]) -> Destination:
    return shares[0].destination if shares else Destination()


def _text(destination: Destination) -> str:
    return destination.generation or ", ".join(destination.addresses) or "nowhere"


def _said(answer: Callable[[], str]) -> str:
    try:
        return answer()
    except DriverError as error:
        return f"{error}\n"
