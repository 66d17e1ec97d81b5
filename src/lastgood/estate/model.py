"""What the files of an estate declare, still with templates in the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from lastgood.domain.criterion import SignalKind
from lastgood.domain.release import CanaryStep, Keep, Readiness, Windows
from lastgood.domain.unit import Environment, Role, Site
from lastgood.domain.wave import WavePolicy
from lastgood.estate.render import Templated
from lastgood.estate.yamlfile import Document

Setting = str | Templated
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_CONTRACTS = re.compile(rb"^\s*--\s*lastgood:\s*after\s+the\s+last\s+wave\s*$", re.MULTILINE | re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: str | int | float) -> float:
    """``500ms``, ``5s``, ``10m``, ``1h`` or a number, in seconds (the schema has checked the form)."""
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found is None:
            raise ValueError(value)
        return float(found[1]) * _UNITS[found[2]]
    return float(value)


@dataclass(frozen=True)
class DriverUse:
    """A driver by name, and the settings given where it is used (prepared)."""

    driver: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RoleDeclared:
    role: Role
    command: list[Setting]
    environment: dict[str, Setting]
    ready: Readiness | None
    stop_grace: float
    replicas: int
    connections: int


@dataclass(frozen=True)
class SignalDeclared:
    name: str
    kind: SignalKind
    driver: str
    database: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class CriterionDeclared:
    name: str
    signal: str
    limit: float
    window: float
    least_sample: int


@dataclass(frozen=True)
class SecretDeclared:
    """Exactly one of ``env`` and ``file`` is set."""

    name: str
    env: Setting = ""
    file: Setting = ""


@dataclass(frozen=True)
class ServiceDeclared:
    """``services/<name>/service.yaml``. ``sites`` and ``environments`` empty mean all."""

    name: str
    file: str
    document: Document
    owner: str
    description: str
    artifact: Setting
    image: Setting
    registry: DriverUse | None
    canary: tuple[CanaryStep, ...]
    keep: Keep
    files: DriverUse | None
    runtime: DriverUse | None
    traffic: DriverUse | None
    roles: tuple[RoleDeclared, ...]
    databases: tuple[str, ...]
    secrets: tuple[SecretDeclared, ...]
    may_differ: tuple[str, ...]
    signals: dict[str, SignalDeclared]
    criteria: tuple[CriterionDeclared, ...]
    windows: Windows
    needs: tuple[str, ...]
    sites: tuple[str, ...]
    environments: tuple[str, ...]

    @property
    def folder(self) -> str:
        return f"services/{self.name}/"


@dataclass(frozen=True)
class MigrationDeclared:
    """Texts as bytes."""

    name: str
    deploy: bytes
    verify: bytes
    revert: bytes

    @property
    def contracts(self) -> bool:
        """Whether its deploy.sql says that it comes after the last wave."""
        return bool(_CONTRACTS.search(self.deploy))


@dataclass(frozen=True)
class DatabaseDeclared:
    """``scope`` is ``site`` or ``environment``: what one instance of it is shared by. ``called`` by table and
    language. ``journey`` is empty where none is declared; ``journeys`` by service, in its place.
    ``besides``: passwords of poolers and replicas.
    """

    name: str
    file: str
    document: Document
    driver: str
    scope: str
    settings: dict[str, Any]
    password: SecretDeclared | None
    owner: str
    users: tuple[str, ...]
    keep: tuple[str, ...]
    called: dict[str, dict[str, str]]
    migrations: tuple[MigrationDeclared, ...]
    journey: bytes = b""
    journeys: dict[str, bytes] = field(default_factory=dict)
    besides: tuple[SecretDeclared, ...] = ()

    def journey_of(self, service: str) -> bytes:
        """How the code of a service writes: its own, or the one for all."""
        return self.journeys.get(service, self.journey)

    @property
    def passwords(self) -> tuple[SecretDeclared, ...]:
        """Its own, and those of what is declared beside it."""
        return (*((self.password,) if self.password else ()), *self.besides)

    def instance(self, environment: str, site: str) -> str:
        """``shop@prod/us``, or ``shop@prod`` when the sites of an environment share it."""
        return f"{self.name}@{environment}/{site}" if self.scope == "site" else f"{self.name}@{environment}"


@dataclass(frozen=True)
class EstateDeclared:
    """``lastgood.yaml``. ``drivers`` are defaults by driver; ``overrides`` the same by environment; ``waves``
    is complete for each environment.
    """

    name: str
    document: Document
    environments: tuple[Environment, ...]
    sites: tuple[Site, ...]
    drivers: dict[str, dict[str, Any]]
    overrides: dict[str, dict[str, dict[str, Any]]]
    waves: dict[str, WavePolicy]
