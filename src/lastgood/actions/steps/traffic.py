"""Traffic: a pointer flip, seen to have happened."""

from __future__ import annotations

from lastgood.actions.abilities import generation_id, runtime_of, traffic_of
from lastgood.actions.steps.tools import Handler, Tools, base_at, release_at
from lastgood.domain.errors import OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.unit import Role
from lastgood.engine.handlers import Result, StepContext
from lastgood.ports.traffic import Destination, ShiftsTraffic


class ShiftTraffic(Handler):
    def run(self, context: StepContext) -> Result:
        release, base = release_at(context), base_at(context)
        traffic = traffic_of(self.tools.drivers, release)
        if traffic is None and base is not None:
            traffic = traffic_of(self.tools.drivers, base)
        if traffic is None:
            return {}
        destination = destination_of(self.tools, release)
        traffic.install()
        traffic.route(destination)
        _confirm(traffic, destination)
        return {"generation": destination.generation, "addresses": list(destination.addresses)}


def destination_of(tools: Tools, release: Release) -> Destination:
    """Where the traffic of a release belongs: its living web role, or what a baseline saw."""
    if release.origin == "baseline":
        return Destination("", release.upstreams)
    runtime = runtime_of(tools.drivers, release)
    wanted = generation_id(release)
    for status in runtime.status() if runtime else ():
        if status.generation == wanted and status.role is Role.WEB and status.running:
            return Destination(wanted, status.addresses)
    raise Rejected(
        N_("no running web of {generation} to send traffic to"),
        todo=N_("Look at its log, then deploy or roll back again."),
        where=str(release.unit),
        generation=wanted,
    )


def _confirm(traffic: ShiftsTraffic, wanted: Destination) -> None:
    seen = traffic.current()
    if seen != wanted:
        raise OutcomeUnknown(
            N_("traffic should go to {wanted}, the proxy says {seen}"),
            todo=N_("Look at who else changes the proxy, then try again."),
            wanted=", ".join(wanted.addresses) or "-",
            seen=", ".join(seen.addresses) or "-",
        )
