"""Traffic: shared out, shifted, seen to have happened; and what is left at the old place comes to an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lastgood.actions.abilities import drains_of, generation_id, runtime_of, splits_of, traffic_of
from lastgood.actions.steps.gate import keep_gate, refuse_broken
from lastgood.actions.steps.tools import Handler, Tools, base_at, release_at, valid_at
from lastgood.actions.steps.watching import Watching
from lastgood.domain.criterion import Verdict
from lastgood.domain.errors import DriverError, OutcomeUnknown, Rejected
from lastgood.domain.message import N_
from lastgood.domain.release import Release
from lastgood.domain.unit import Role
from lastgood.engine.handlers import Result, StepContext
from lastgood.ports.traffic import Destination, DrainsTraffic, Leave, Share, ShiftsTraffic

PRECISION = 1.0
"""Percentage points by which an observed share may differ: proxies know whole weights only."""


class ShiftTraffic(Handler):
    def run(self, context: StepContext) -> Result:
        release, base = valid_at(context), base_at(context)
        traffic = traffic_of(self.tools.drivers, release)
        if traffic is None and base is not None:
            traffic = traffic_of(self.tools.drivers, base)
        if traffic is None:
            return {}
        destination = destination_of(self.tools, release)
        traffic.install()
        traffic.route(destination, Leave(context.step.params.get("leave", Leave.DRAIN.value)))
        _confirm(traffic, destination)
        return {"generation": destination.generation, "addresses": list(destination.addresses)}


class SplitTraffic(Handler):
    """Gives the new generation its share; the old one keeps the rest."""

    def run(self, context: StepContext) -> Result:
        release, base = valid_at(context), release_at(context, "base")
        if (route := traffic_of(self.tools.drivers, release)) is not None:
            route.install()
        traffic = splits_of(self.tools.drivers, release)
        percent = float(context.step.params["percent"])
        shares = (
            Share(destination_of(self.tools, release), percent),
            Share(destination_of(self.tools, base), 100.0 - percent),
        )
        traffic.split(shares)
        seen = traffic.shares()
        if not _same(seen, shares):
            raise OutcomeUnknown(
                N_("{percent} % of the traffic should go to {wanted}, the proxy says {seen}"),
                todo=N_("Look at who else changes the proxy, then try again."),
                where=str(release.unit),
                percent=f"{percent:g}",
                wanted=", ".join(shares[0].destination.addresses),
                seen=", ".join(f"{s.destination.generation or '-'} {s.percent:.3g} %" for s in seen) or "-",
            )
        return {"generation": shares[0].destination.generation, "percent": percent}


class DrainTraffic(Handler):
    """Waits for what is open at the old generation, watching the new one; at the bound the rest is ended.

    Draining is a courtesy: a proxy that can't answer takes no good release back, the rest is ended with the
    old generation at the latest.
    """

    def run(self, context: StepContext) -> Result:
        release, base = release_at(context), release_at(context, "base")
        draining = drains_of(self.tools.drivers, release)
        if draining is None:
            return {}
        old = "" if base.origin == "baseline" else generation_id(base)
        watching = Watching.resume(self.tools, context, release, release.criteria)
        result, _ = watching.until_over(lambda: _open(draining, old) == 0)
        if result.verdict is Verdict.FAILED:
            keep_gate(context, result)
        refuse_broken(result, watching)
        left = _open(draining, old)
        try:
            draining.close(old)
        except DriverError as error:
            return {"ended": 0, "left": left, "error": str(error.what)}
        return {"ended": left}


def _open(draining: DrainsTraffic, generation: str) -> int | None:
    """None when the proxy does not say."""
    try:
        return draining.open_requests(generation)
    except DriverError:
        return None


def destination_of(tools: Tools, release: Release) -> Destination:
    """Where the traffic of a release belongs: its living web role, or what a baseline saw."""
    if release.origin == "baseline":
        return Destination("", tuple(sorted(release.upstreams)))
    runtime = runtime_of(tools.drivers, release)
    wanted = generation_id(release)
    for status in runtime.status() if runtime else ():
        if status.generation == wanted and status.role is Role.WEB and status.running:
            return Destination(wanted, tuple(sorted(status.addresses)))
    raise Rejected(
        N_("no running web of {generation} to send traffic to"),
        todo=N_("Look at its log, then deploy or roll back again."),
        where=str(release.unit),
        generation=wanted,
    )


def _confirm(traffic: ShiftsTraffic, wanted: Destination) -> None:
    seen = traffic.current()
    if _sorted(seen) != wanted:
        raise OutcomeUnknown(
            N_("traffic should go to {wanted}, the proxy says {seen}"),
            todo=N_("Look at who else changes the proxy, then try again."),
            wanted=", ".join(wanted.addresses) or "-",
            seen=", ".join(seen.addresses) or "-",
        )


def _sorted(destination: Destination) -> Destination:
    return replace(destination, addresses=tuple(sorted(destination.addresses)))


def _same(seen: Sequence[Share], wanted: Sequence[Share]) -> bool:
    there = {_sorted(share.destination): share.percent for share in seen}
    return there.keys() == {share.destination for share in wanted} and all(
        abs(there[share.destination] - share.percent) <= PRECISION for share in wanted
    )
