"""Finds what differs on the targets from what was last released."""

from __future__ import annotations

from lastgood.actions.abilities import (
    files_of,
    generation_id,
    generation_of,
    release_name,
    runtime_of,
    traffic_of,
)
from lastgood.domain.observation import Drift, DriftKind
from lastgood.domain.release import Release
from lastgood.domain.unit import Role
from lastgood.ports.drivers import Drivers, FindsDrift
from lastgood.ports.traffic import Destination, SplitsTraffic


def detect(drivers: Drivers, release: Release) -> tuple[Drift, ...]:
    """Look at files, what runs, and traffic of the unit now. Raises DriverError."""
    files = _files(drivers, release)
    return (*files, *_roles(drivers, release, whole=not files), *_traffic(drivers, release))


def _files(drivers: Drivers, release: Release) -> tuple[Drift, ...]:
    places = files_of(drivers, release)
    if places is None:
        return ()
    if release.origin == "baseline":
        return places.drift(release.files) if release.files else ()
    current = places.current()
    if current != release_name(release):
        return (Drift("current configuration", DriftKind.CHANGED, f"{current or 'none'}"),)
    return places.drift(release.files)


def _roles(drivers: Drivers, release: Release, *, whole: bool) -> tuple[Drift, ...]:
    """``whole``: the placed configuration is as released. To compare a generation it is placed first, which
    would mend what was just found missing.
    """
    runtime = runtime_of(drivers, release)
    if runtime is None or release.origin == "baseline":
        return ()
    if isinstance(runtime, FindsDrift) and whole:
        return runtime.drift(generation_of(drivers, release))
    running = {s.role: s for s in runtime.status() if s.generation == generation_id(release) and s.running}
    return tuple(
        Drift(f"role {spec.role.value}", DriftKind.MISSING, "not running")
        for spec in release.roles
        if spec.role not in running
    )


def _traffic(drivers: Drivers, release: Release) -> tuple[Drift, ...]:
    traffic = traffic_of(drivers, release)
    if traffic is None or release.origin == "baseline" or not release.has_role(Role.WEB):
        return ()
    wanted = generation_id(release)
    if isinstance(traffic, SplitsTraffic):
        shares = [s for s in traffic.shares() if s.destination.generation != wanted]
        others = [f"{_place(s.destination)} {s.percent:.3g} %" for s in shares if s.percent < 100]
        if others:
            return (Drift("traffic", DriftKind.CHANGED, ", ".join(others)),)
    seen = traffic.current()
    if seen.generation != wanted:
        return (Drift("traffic", DriftKind.CHANGED, _place(seen)),)
    return _addresses(drivers, release, seen)


def _addresses(drivers: Drivers, release: Release, seen: Destination) -> tuple[Drift, ...]:
    """What runs may have come up again elsewhere, and then requests go to nobody."""
    runtime = runtime_of(drivers, release)
    for status in runtime.status() if runtime else ():
        web = status.generation == seen.generation and status.role is Role.WEB and status.running
        if web and sorted(status.addresses) != sorted(seen.addresses):
            went = ", ".join(seen.addresses) or "nowhere"
            return (Drift("traffic", DriftKind.CHANGED, f"{went}, not {', '.join(status.addresses)}"),)
    return ()


def _place(destination: Destination) -> str:
    return destination.generation or ", ".join(destination.addresses) or "nowhere"
