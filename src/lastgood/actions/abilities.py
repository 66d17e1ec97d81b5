# mypy: disable-error-code="type-abstract"
"""The drivers of a release by what they can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from lastgood.domain.criterion import Signal
from lastgood.domain.digest import short
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.unit import Target, UnitId
from lastgood.ports.drivers import (
    Classifies,
    Drivers,
    Generation,
    Measures,
    Migrates,
    Places,
    Runs,
    Snapshots,
)
from lastgood.ports.traffic import ShiftsTraffic

Ability = TypeVar("Ability")


def _able(drivers: Drivers, unit: UnitId, target: Target, ability: type[Ability]) -> Ability:
    driver = drivers.get(unit, target)
    if not isinstance(driver, ability):
        raise InvalidInput(
            N_("driver {driver} can't be used here: it lacks {ability}"),
            todo=N_("Name another driver in service.yaml or lastgood.yaml."),
            where=str(unit),
            driver=target.driver,
            ability=ability.__name__,
        )
    return driver


def files_of(drivers: Drivers, release: Release) -> Places | None:
    target = release.files_target
    return _able(drivers, release.unit, target, Places) if target else None


def runtime_of(drivers: Drivers, release: Release) -> Runs | None:
    target = release.runtime
    return _able(drivers, release.unit, target, Runs) if target else None


def traffic_of(drivers: Drivers, release: Release) -> ShiftsTraffic | None:
    target = release.traffic
    return _able(drivers, release.unit, target, ShiftsTraffic) if target else None


def database_target(release: Release, database: DatabaseTarget) -> Target:
    """The target with the name of the resource, which its driver gives to what it keeps, and with the
    version of its password, which belongs to the release.
    """
    settings = {**database.target.settings, "resource": database.resource}
    password = settings.get("password")
    if isinstance(password, Mapping):
        version = next((s.version for s in release.secrets if s.name == password.get("secret")), "")
        settings["password"] = {**password, "version": version}
    return Target(database.target.driver, settings)


def migrates_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Migrates:
    return _able(drivers, release.unit, database_target(release, database), Migrates)


def snapshots_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Snapshots:
    return _able(drivers, release.unit, database_target(release, database), Snapshots)


def classifies_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Classifies:
    return _able(drivers, release.unit, database_target(release, database), Classifies)


def measures_of(drivers: Drivers, release: Release, signal: Signal) -> Measures:
    """A signal of a database or of the proxy is answered by that very driver, not by a second one."""
    resource = signal.settings.get("resource")
    database = release.database(str(resource)) if resource else None
    if database is not None:
        target = database_target(release, database)
    elif release.traffic is not None and release.traffic.driver == signal.driver:
        target = release.traffic
    else:
        target = Target(signal.driver, signal.settings)
    return _able(drivers, release.unit, target, Measures)


def evidence_of(drivers: Drivers, release: Release) -> Iterator[tuple[str, Callable[[], object]]]:
    """(name, how to get the driver) of everything a release names; some can give evidence."""
    targets = {"runtime": release.runtime, "traffic": release.traffic, "files": release.files_target}
    named = [(name, target) for name, target in targets.items() if target]
    named += [(f"database-{d.resource}", database_target(release, d)) for d in release.databases]
    for criterion in release.criteria:
        signal = criterion.signal
        proxied = release.traffic is not None and release.traffic.driver == signal.driver
        if not signal.settings.get("resource") and not proxied:
            named.append((f"signal-{signal.name}", Target(signal.driver, signal.settings)))
    for name, target in named:
        yield name.replace("/", "-").replace("@", "-"), partial(drivers.get, release.unit, target)


def release_name(release: Release) -> str:
    """How a release is called on targets: short, stable, safe in paths."""
    return short(release.digest)


def generation_of(drivers: Drivers, release: Release) -> Generation:
    """The release as something that runs; its configuration is the placed directory."""
    places = files_of(drivers, release)
    config = places.place(release_name(release), release.files) if places else None
    return Generation(
        generation_id(release), release.unit, release.roles, release.artifact, config, release.secrets,
        release.image, () if places else release.files,
    )  # fmt: skip


def generation_id(release: Release) -> str:
    return f"{release.unit.slug}-{release_name(release)}"
