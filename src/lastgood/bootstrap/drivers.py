"""Finds drivers by name through the entry point ``lastgood.drivers`` and builds them once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from lastgood.domain.digest import canonical
from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.unit import Target, UnitId
from lastgood.ports.content import ImageArchive, Objects, Vault
from lastgood.ports.drivers import DriverFactory

GROUP = "lastgood.drivers"


@cache
def installed() -> Mapping[str, EntryPoint]:
    """Looked for once: with many units it would be most of the time of planning."""
    return {point.name: point for point in entry_points(group=GROUP)}


@dataclass(frozen=True)
class Tools:
    """Implements ``ports.content.DriverTools``."""

    objects: Objects
    vault: Vault
    images: ImageArchive
    directory: Path


@dataclass
class DriverRegistry:
    """Implements ``ports.drivers.Drivers``; one instance per thread, unit and target, so that a driver
    need not care about threads and may keep a connection.
    """

    objects: Objects
    vault: Vault
    images: ImageArchive
    directory: Path
    _local: threading.local = field(default_factory=threading.local)

    def get(self, unit: UnitId, target: Target) -> object:
        built: dict[tuple[UnitId, bytes], object] = self._local.__dict__.setdefault("built", {})
        key = (unit, canonical(target))
        if key not in built:
            directory = self.directory / target.driver
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            tools = Tools(self.objects, self.vault, self.images, directory)
            built[key] = self._factory(target.driver, unit)(unit, target.settings, tools)
        return built[key]

    @staticmethod
    def _factory(name: str, unit: UnitId) -> DriverFactory:
        found = installed()
        if name not in found:
            raise InvalidInput(
                N_("there is no driver {driver}"),
                todo=N_("Installed are: {known}. Mend the name, or install the package that has it."),
                where=str(unit),
                driver=name,
                known=", ".join(sorted(found)),
            )
        return cast(DriverFactory, found[name].load())
