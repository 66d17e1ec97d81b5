"""Finds what differs on the targets from what was last released."""

from __future__ import annotations

from lastgood.actions.abilities import files_of, generation_id, release_name, runtime_of, traffic_of
from lastgood.domain.observation import Drift, DriftKind
from lastgood.domain.release import Release
from lastgood.domain.unit import Role
from lastgood.ports.drivers import Drivers


def detect(drivers: Drivers, release: Release) -> tuple[Drift, ...]:
    """Look at files, processes and traffic of the unit now. Raises DriverError."""
    return (*_files(drivers, release), *_roles(drivers, release), *_traffic(drivers, release))


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


def _roles(drivers: Drivers, release: Release) -> tuple[Drift, ...]:
    runtime = runtime_of(drivers, release)
    if runtime is None or release.origin == "baseline":
        return ()
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
    seen = traffic.current()
    if seen.generation == generation_id(release):
        return ()
    return (Drift("traffic", DriftKind.CHANGED, seen.generation or ", ".join(seen.addresses) or "nowhere"),)
