"""Where things run: environments, sites, units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Role(str, Enum):
    """What a part of a service does; only ``web`` may run in two generations at once."""

    WEB = "web"
    WORKER = "worker"
    SCHEDULER = "scheduler"


@dataclass(frozen=True, order=True)
class UnitId:
    """One service in one environment at one site, written ``storefront@prod/us``."""

    service: str
    environment: str
    site: str

    def __str__(self) -> str:
        return f"{self.service}@{self.environment}/{self.site}"

    @classmethod
    def parse(cls, text: str) -> UnitId:
        """Raises InvalidInput when the text is not ``service@environment/site``."""
        service, at, rest = text.partition("@")
        environment, slash, site = rest.partition("/")
        parts = (service, environment, site)
        if not at or not slash or not all(NAME.fullmatch(p) for p in parts):
            raise InvalidInput(
                N_("'{text}' is not a unit"),
                todo=N_("Write it as service@environment/site, for example storefront@prod/us."),
                text=text,
            )
        return cls(*parts)

    @property
    def slug(self) -> str:
        """A form that is safe in file names and URLs: ``storefront.prod.us``."""
        return f"{self.service}.{self.environment}.{self.site}"


def named(units: Iterable[UnitId], most: int = 4) -> str:
    """For a sentence: ``most`` of them, and how many more there are."""
    names = [str(unit) for unit in units]
    more = f" (+{len(names) - most})" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@dataclass(frozen=True)
class Environment:
    """One stage of the promotion order; ``position`` counts from 0 (first) up.

    ``criteria_required``: a service without criteria can't be deployed here (R15).
    ``automatic``: a broken gate starts the rollback by itself (R14); otherwise it waits for a person.
    """

    name: str
    position: int
    criteria_required: bool = False
    automatic: bool = True


@dataclass(frozen=True)
class Site:
    """A shop or region inside an environment; ``environments`` empty means all of them."""

    name: str
    platform: str = "own"
    region: str = ""
    environments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A driver by name and its settings, resolved for one unit (secrets only as references)."""

    driver: str
    settings: Mapping[str, Any] = field(default_factory=dict)
