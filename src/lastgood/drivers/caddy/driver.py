"""Traffic, signals and evidence of a unit behind Caddy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from lastgood.domain.criterion import Signal, SignalKind
from lastgood.domain.digest import digest
from lastgood.domain.errors import Cause, DriverError, OutcomeUnknown, Rejected, Unreachable
from lastgood.domain.message import N_
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.unit import UnitId
from lastgood.drivers.caddy import metrics, pointer
from lastgood.drivers.caddy.admin import Admin, UnitAddress
from lastgood.drivers.caddy.config import find_server, has_metrics, is_installed, placement
from lastgood.drivers.caddy.settings import Settings, SignalSettings
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Reading
from lastgood.ports.traffic import Destination, Leave

ATTEMPTS = 20


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> CaddyDriver:
    """Entry point. Raises InvalidInput naming the wrong or missing setting.

    Built for a signal alone, the traffic settings of its unit come as ``target``.
    """
    target = settings.get("target")
    return CaddyDriver(Settings.of(unit, target if isinstance(target, Mapping) else settings))


class CaddyDriver:
    """ShiftsTraffic, Measures, Observes and GivesEvidence for one unit.

    Where requests go is one line in a file that Caddy reads at every request, so a flip is an atomic
    rename: no reload, and no need of the admin API.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = Admin(settings.admin)
        self._unit = UnitAddress(settings)

    # ShiftsTraffic

    def install(self) -> None:
        """Idempotent; a configuration that is as it must be is left alone, for a change is a reload."""
        pointer.create_empty(self._settings.pointer)
        for attempt in range(ATTEMPTS):
            try:
                config, etag = self._admin.config()
            except Unreachable as error:
                if attempt == 0:
                    raise
                raise self._lost() from error
            write = placement(config, self._settings)
            if write is None:
                return
            self._admin.write(write, etag)
        raise Rejected(
            N_("the configuration of Caddy keeps changing under our hands"),
            todo=N_("Find the other writer, then try again."),
            where=self._settings.admin,
        )

    def route(self, destination: Destination, leave: Leave = Leave.DRAIN) -> None:
        """Needs only the proxy itself to answer, not its admin API. Both ways of leaving are the same here:
        no cookie binds anybody, and open requests finish where they are.
        """
        line = pointer.line_of(destination)
        if self._before() == destination:
            return
        pointer.write(self._settings.pointer, line)
        try:
            seen = self._unit.look()
        except Unreachable as error:
            raise OutcomeUnknown(
                N_("the traffic was switched, but the proxy does not answer any more"),
                todo=N_("Look where requests go once Caddy is back; it is safe to repeat."),
                where=self._unit.address,
            ) from error
        if seen != destination:
            raise Rejected(
                N_("Caddy does not read what was written: it sends requests to '{seen}'"),
                todo=N_("Make {path} readable for Caddy's user, at the same path."),
                where=self._unit.address,
                cause=Cause.PERMISSION,
                seen=", ".join(seen.addresses) if seen else "",
                path=str(self._settings.pointer),
            )

    def current(self) -> Destination:
        """As Caddy itself answers; without its admin API, the proxy's own answer is enough."""
        try:
            config, _ = self._admin.config()
        except Unreachable:
            seen = self._unit.look()
            if seen is None:
                raise
            return seen
        if find_server(config, self._settings.server) is None:
            return Destination()
        if not is_installed(config, self._settings):
            raise self._edited()
        seen = self._unit.look()
        if seen is None:
            raise self._stranger()
        return seen

    def address(self) -> str:
        return self._unit.address

    def _before(self) -> Destination:
        try:
            seen = self._unit.look()
        except Unreachable:
            self._require_route()
            raise
        if seen is None:
            self._require_route()
            raise self._stranger()
        return seen

    def _require_route(self) -> None:
        config, _ = self._admin.config()
        if find_server(config, self._settings.server) is None:
            raise Rejected(
                N_("the route of {unit} is not installed in Caddy"),
                todo=N_("Install it first; a deploy does."),
                where=self._settings.admin,
                unit=str(self._settings.unit),
            )

    def _lost(self) -> OutcomeUnknown:
        return OutcomeUnknown(
            N_("Caddy went away while its configuration was changed"),
            todo=N_("Start it and look at the target; installing again is safe."),
            where=self._settings.admin,
        )

    def _edited(self) -> Rejected:
        return Rejected(
            N_("the route of {unit} in Caddy was changed by hand: where requests go is not known"),
            todo=N_("Compare the server '{server}' with the last evidence; installing puts it right."),
            where=self._settings.admin,
            unit=str(self._settings.unit),
            server=self._settings.server,
        )

    def _stranger(self) -> Rejected:
        return Rejected(
            N_("at the address of {unit} something else answers"),
            todo=N_("Correct the setting 'listen', or stop the other program."),
            where=self._unit.address,
            unit=str(self._settings.unit),
        )

    # Observes

    def observe(self) -> Observation:
        """The fingerprint covers the server's configuration in Caddy and the destination."""
        config, _ = self._admin.config()
        server = find_server(config, self._settings.server)
        installed = is_installed(config, self._settings)
        seen = self._unit.look() if installed else None
        facts = {
            "server": self._settings.server,
            "address": self._unit.address,
            "route": "installed" if installed else "missing" if server is None else "changed",
            "generation": seen.generation if seen else "",
            "upstream": ", ".join(seen.addresses) if seen else "",
        }
        return Observation(digest((server, facts)), datetime.now(UTC), facts)

    # Measures

    def begin(self, signal: Signal) -> Mapping[str, Any]:
        """With Caddy down, counting begins at the first look that succeeds."""
        SignalSettings.of(self._settings.unit, signal)
        try:
            return metrics.begin(self._count())
        except DriverError:
            return {}

    def read(self, signal: Signal, cursor: Mapping[str, Any]) -> Reading:
        """ratio: requests answered with none of ``codes`` of all; gauge: milliseconds at ``quantile``."""
        settings = SignalSettings.of(self._settings.unit, signal)
        try:
            now = self._count()
            error = "" if now.codes else self._why_silent()
        except DriverError as failure:
            return Reading(cursor, error=str(failure))
        if not cursor:
            return Reading(metrics.begin(now), error=error)
        after = metrics.advance(cursor, now, settings)
        if signal.kind is SignalKind.RATIO:
            return Reading(after, after["good"], after["total"], None, error)
        return Reading(after, value=metrics.quantile(cursor, now, settings.quantile), error=error)

    def _count(self) -> metrics.Counters:
        return metrics.count(self._admin.metrics(), self._settings.server)

    def _why_silent(self) -> str:
        """No line at all is either no request yet, which is no error, or nobody who counts."""
        config, _ = self._admin.config()
        if find_server(config, self._settings.server) is None:
            return "the route is not installed in Caddy"
        return "" if has_metrics(config) else "metrics are off in Caddy"

    # GivesEvidence

    def evidence(self) -> Sequence[EvidenceItem]:
        """What can't be had is replaced by the reason."""
        return (
            EvidenceItem("caddy-server.json", self._server_text().encode()),
            EvidenceItem("caddy-metrics.txt", self._metrics_text().encode()),
            EvidenceItem("caddy-pointer.txt", self._pointer_bytes()),
            EvidenceItem("caddy-response.txt", self._unit.probe().encode()),
        )

    def _server_text(self) -> str:
        try:
            config, _ = self._admin.config()
        except DriverError as error:
            return f"{error}\n"
        return json.dumps(find_server(config, self._settings.server), indent=2) + "\n"

    def _metrics_text(self) -> str:
        try:
            text = self._admin.metrics()
        except DriverError as error:
            return f"{error}\n"
        return "".join(f"{line}\n" for line, *_ in metrics.of_server(text, self._settings.server))

    def _pointer_bytes(self) -> bytes:
        try:
            return self._settings.pointer.read_bytes()
        except OSError as error:
            return f"{error.strerror}\n".encode()
