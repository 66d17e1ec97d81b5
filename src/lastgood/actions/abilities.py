# mypy: disable-error-code="type-abstract"
"""The drivers of a release by what they can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from lastgood.actions.secrets import BESIDES, logins_of, secrets_of_service
from lastgood.domain.criterion import Signal
from lastgood.domain.digest import short
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import DatabaseTarget, Release
from lastgood.domain.unit import Target, UnitId
from lastgood.ports.cautioning import Cautions
from lastgood.ports.drivers import (
    Classifies,
    Drivers,
    Generation,
    HasConnections,
    Measures,
    Migrates,
    Places,
    Runs,
    Snapshots,
)
from lastgood.ports.images import KeepsImages, ResolvesImages
from lastgood.ports.restoring import Captures, HasNeighbours, Restores
from lastgood.ports.reviewing import Reviews
from lastgood.ports.traffic import DrainsTraffic, ShiftsTraffic, SplitsTraffic
from lastgood.ports.undoing import UndoesRows
from lastgood.ports.warm import KeepsWarm

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


def splits_of(drivers: Drivers, release: Release) -> SplitsTraffic:
    """Raises InvalidInput where the proxy can't send a share of the requests."""
    driver = traffic_of(drivers, release)
    if isinstance(driver, SplitsTraffic):
        return driver
    raise InvalidInput(
        N_("the traffic driver {driver} can't send a share of the requests, which canary steps need"),
        todo=N_("Use one that can (haproxy, nginx), or remove 'canary' from service.yaml."),
        where=str(release.unit),
        driver=release.traffic.driver if release.traffic else "-",
    )


def drains_of(drivers: Drivers, release: Release) -> DrainsTraffic | None:
    """None where the proxy does not know what is still open."""
    driver = traffic_of(drivers, release)
    return driver if isinstance(driver, DrainsTraffic) else None


def database_target(release: Release, database: DatabaseTarget) -> Target:
    """The target with the name of the resource, which its driver gives to what it keeps, and with the
    versions of its passwords, which belong to the release.
    """
    settings = {**database.target.settings, "resource": database.resource}
    for kind in BESIDES:
        if kind in settings:
            settings[kind] = [_with_version(release, one) for one in settings[kind]]
    return Target(database.target.driver, _with_version(release, settings))


def registry_of(drivers: Drivers, release: Release) -> ResolvesImages:
    """Where its image comes from, with the login of that time. Raises InvalidInput when none is named."""
    if release.registry is None:
        raise InvalidInput(
            N_("{unit} has an image, but no registry that knows it"),
            todo=N_("Add 'registry' to service.yaml, or leave it out for the usual one."),
            where=str(release.unit),
            unit=str(release.unit),
        )
    settings = dict(release.registry.settings)
    if logins := logins_of(release):
        settings["hosts"] = {host: _with_version(release, login) for host, login in logins.items()}
    target = Target(release.registry.driver, settings)
    return _able(drivers, release.unit, target, ResolvesImages)


def _with_version(release: Release, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings whose password is a secret by name, with its version in the release."""
    password = settings.get("password")
    if not isinstance(password, Mapping):
        return settings
    version = next((s.version for s in release.secrets if s.name == password.get("secret")), "")
    return {**settings, "password": {**password, "version": version}}


def engine_of(drivers: Drivers, release: Release) -> KeepsImages | None:
    """None where what runs the release keeps no images."""
    runtime = runtime_of(drivers, release) if release.image else None
    return runtime if isinstance(runtime, KeepsImages) else None


def migrates_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Migrates:
    return _able(drivers, release.unit, database_target(release, database), Migrates)


def snapshots_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Snapshots:
    return _able(drivers, release.unit, database_target(release, database), Snapshots)


def captures_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Captures | None:
    """None where nothing keeps what is written after a snapshot."""
    driver = drivers.get(release.unit, database_target(release, database))
    return driver if isinstance(driver, Captures) else None


def warm_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> KeepsWarm | None:
    """None where no copy can stand by."""
    driver = drivers.get(release.unit, database_target(release, database))
    return driver if isinstance(driver, KeepsWarm) else None


def restores_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Restores:
    return _able(drivers, release.unit, database_target(release, database), Restores)


def neighbours_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> HasNeighbours | None:
    """None where the driver knows nobody beside the users."""
    driver = drivers.get(release.unit, database_target(release, database))
    return driver if isinstance(driver, HasNeighbours) else None


def connections_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> HasConnections | None:
    """None where the server can't be asked for its room."""
    driver = drivers.get(release.unit, database_target(release, database))
    return driver if isinstance(driver, HasConnections) else None


def classifies_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Classifies:
    return _able(drivers, release.unit, database_target(release, database), Classifies)


def reviews_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Reviews | None:
    """None where the driver has nothing to say of a migration's locks."""
    driver = drivers.get(release.unit, database_target(release, database))
    return driver if isinstance(driver, Reviews) else None


def cautions_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> Cautions | None:
    """None where the driver reaches one kind of server only."""
    driver = drivers.get(release.unit, database_target(release, database))
    return driver if isinstance(driver, Cautions) else None


def undoes_of(drivers: Drivers, release: Release, database: DatabaseTarget) -> UndoesRows | None:
    """None where nothing records what a migration does to a row."""
    driver = drivers.get(release.unit, database_target(release, database))
    return driver if isinstance(driver, UndoesRows) else None


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
    generation, places = unplaced(release), files_of(drivers, release)
    if places is None:
        return generation
    return replace(generation, config=places.place(release_name(release), release.files), files=())


def unplaced(release: Release) -> Generation:
    """The release as something that may run one day: nothing was written for it yet."""
    return Generation(
        generation_id(release), release.unit, release.roles, release.artifact, None,
        secrets_of_service(release), release.image, release.files,
    )  # fmt: skip


def generation_id(release: Release) -> str:
    return f"{release.unit.slug}-{release_name(release)}"
