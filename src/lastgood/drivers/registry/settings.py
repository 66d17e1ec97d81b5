"""Settings of the registry driver."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.message import N_
from lastgood.domain.release import SecretVersion
from lastgood.domain.unit import UnitId
from lastgood.drivers.registry.platforms import Platform

KEYS = ("hosts", "platform", "ca", "insecure", "timeout")
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/v[0-9]+)?")
_SERVED_BY = {"docker.io": "registry-1.docker.io"}
"""The one registry whose API is not where its name says."""


@dataclass(frozen=True)
class Login:
    """A name, and its password as a secret by name and version."""

    username: str
    password: SecretVersion


@dataclass(frozen=True)
class Settings:
    """``logins`` by registry (host, or host:port); ``timeout`` is how many seconds may pass without a byte.

    ``ca`` is a file of certificates that vouch for registries besides the system's own.
    """

    logins: Mapping[str, Login] = field(default_factory=dict)
    platform: Platform = field(default_factory=lambda: Platform("linux", "amd64"))
    ca: Path | None = None
    insecure: frozenset[str] = frozenset()
    timeout: float = 30.0

    def address(self, host: str) -> str:
        """``https://registry.example.com``. Plain HTTP where it was asked for, and on this machine as long as
        no ``ca`` vouches for a registry here.
        """
        plain = host in self.insecure or (is_loopback(host) and self.ca is None)
        return f"{'http' if plain else 'https'}://{_SERVED_BY.get(host, host)}"

    @classmethod
    def of(cls, unit: UnitId, values: Mapping[str, Any]) -> Settings:
        """Raises InvalidInput naming the setting that is unknown or wrong."""
        for key in values:
            if key not in KEYS:
                raise InvalidInput(
                    N_("the driver registry has no setting '{key}'"),
                    todo=N_("Remove it, or use one of: {known}."),
                    where=str(unit),
                    key=key,
                    known=", ".join(KEYS),
                )
        return cls(
            logins=_logins(unit, values.get("hosts", {})),
            platform=_platform(unit, values.get("platform", "linux/amd64")),
            ca=_ca(unit, values.get("ca")),
            insecure=_insecure(unit, values.get("insecure", ())),
            timeout=_timeout(unit, values.get("timeout", 30.0)),
        )


def is_loopback(host: str) -> bool:
    """``localhost``, 127.0.0.0/8 or [::1], with or without a port."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _wrong(unit: UnitId, key: str, todo: str) -> InvalidInput:
    return InvalidInput(
        N_("the setting '{key}' of the driver registry is wrong"), todo=todo, where=str(unit), key=key
    )


def _logins(unit: UnitId, value: object) -> Mapping[str, Login]:
    if not isinstance(value, Mapping):
        raise _wrong(unit, "hosts", N_("Write the registries by name, each with username and password."))
    return {str(host): _login(unit, f"hosts.{host}", login) for host, login in value.items()}


def _login(unit: UnitId, key: str, value: object) -> Login:
    known = {"username", "password"}
    if not isinstance(value, Mapping) or set(value) != known or not value["username"]:
        raise _wrong(unit, key, N_("Write exactly: username, and password as a secret."))
    password = value["password"]
    if not isinstance(password, Mapping) or not password.get("secret") or not password.get("version"):
        raise _wrong(unit, f"{key}.password", N_("Name a secret; a value is never written here."))
    secret = SecretVersion(str(password["secret"]), str(password["version"]))
    return Login(str(value["username"]), secret)


def _platform(unit: UnitId, value: object) -> Platform:
    if not isinstance(value, str) or not _PLATFORM.fullmatch(value):
        raise _wrong(unit, "platform", N_("Write it as linux/amd64, linux/arm64 or linux/arm/v7."))
    return Platform(*value.split("/"))


def _ca(unit: UnitId, value: object) -> Path | None:
    if value is None or value == "":
        return None
    path = Path(str(value))
    if not path.is_absolute():
        raise _wrong(unit, "ca", N_("Write the absolute path of a file of certificates (PEM)."))
    return path


def _insecure(unit: UnitId, value: object) -> frozenset[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(host, str) and host for host in value):
        raise _wrong(unit, "insecure", N_("Write a list of registries, for example [registry.lan:5000]."))
    return frozenset(value)


def _timeout(unit: UnitId, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 3600:
        raise _wrong(unit, "timeout", N_("Write a number of seconds, for example 30."))
    return float(value)
