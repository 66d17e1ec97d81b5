"""The settings of the docker driver: where the engine is, and what each role asks of its containers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lastgood.domain.message import N_
from lastgood.domain.unit import Role
from lastgood.drivers.docker import fields as read
from lastgood.drivers.docker.options import OPTIONS, RoleOptions

LOCAL = "unix:///var/run/docker.sock"
PORTS = (20000, 29999)
"""Below the kernel's own range, from which outgoing connections take theirs."""
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
KEYS = ("host", "tls", "ssh_config", "address", "ports", "network", "config", "secrets", "roles")


@dataclass(frozen=True)
class Tls:
    """Files of this machine: the authority to trust, and with what we prove who we are."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True)
class DockerSettings:
    """``address`` is where the proxy reaches published ports; ``ports`` are the lowest and highest of them.

    ``network``: ``bridge``, ``host`` or the name of a network. ``config`` is the directory in a container
    where configuration is put; ``secrets``: ``environment``, or ``files`` for ``/run/secrets/NAME``.
    """

    host: str = LOCAL
    tls: Tls | None = None
    ssh_config: Path | None = None
    address: str = "127.0.0.1"
    ports: tuple[int, int] = PORTS
    network: str = "bridge"
    config: str = "/etc/lastgood"
    secrets: str = "environment"
    roles: Mapping[Role, RoleOptions] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether the engine is on this machine, and sees its files."""
        return self.host.startswith("unix://")

    def role(self, role: Role) -> RoleOptions:
        return self.roles[role]

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> DockerSettings:
        """Raises InvalidInput naming the setting that is unknown or wrong, and what is right."""
        read.refuse_unknown(where, "", values, (*KEYS, *OPTIONS))
        host = _host(where, values.get("host", LOCAL))
        made = cls(
            host,
            _tls(where, host, values.get("tls")),
            _ssh_config(where, host, values.get("ssh_config")),
            _address(where, host, values.get("address")),
            _ports(where, values.get("ports", list(PORTS))),
            _network(where, values.get("network", "bridge")),
            read.inside(where, "config", values.get("config", "/etc/lastgood")),
            _secrets(where, values.get("secrets", "environment")),
            _roles(where, values),
        )
        for role, options in made.roles.items():
            _check_together(where, made, role, options)
        return made


def _host(where: str, value: Any) -> str:
    host = read.text(where, "host", value)
    parts = urlsplit(host)
    valid = {
        "unix": bool(parts.path.startswith("/") and not parts.netloc),
        "tcp": bool(parts.hostname and _port_of(host) and not parts.path),
        "ssh": bool(parts.hostname and not parts.path and not parts.password),
    }.get(parts.scheme, False)
    if not valid:
        raise read.wrong(
            where, "host", N_("Write unix:///var/run/docker.sock, tcp://host:2376 or ssh://user@host.")
        )
    return host


def _port_of(host: str) -> int:
    try:
        return urlsplit(host).port or 0
    except ValueError:
        return 0


def _tls(where: str, host: str, value: Any) -> Tls | None:
    if value is None:
        return None
    given = read.mapping(where, "tls", value)
    read.refuse_unknown(where, "tls.", given, ("ca", "cert", "key"))
    if not host.startswith("tcp://"):
        raise read.wrong(where, "tls", N_("It is for a host that begins with tcp://; remove it."))
    return Tls(*(read.file(where, f"tls.{key}", given.get(key)) for key in ("ca", "cert", "key")))


def _ssh_config(where: str, host: str, value: Any) -> Path | None:
    if value is None:
        return None
    if not host.startswith("ssh://"):
        raise read.wrong(where, "ssh_config", N_("It is for a host that begins with ssh://; remove it."))
    return read.file(where, "ssh_config", value)


def _address(where: str, host: str, value: Any) -> str:
    """The engine's own host when nothing is said: what is published there is reached there."""
    if value is None:
        return urlsplit(host).hostname or "127.0.0.1"
    address = read.text(where, "address", value)
    if not is_ip(address) and not HOST_NAME.fullmatch(address):
        raise read.wrong(where, "address", N_("Write an address or host name, without a port."))
    return address


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _ports(where: str, value: Any) -> tuple[int, int]:
    found = list(value) if isinstance(value, (list, tuple)) else []
    if len(found) != 2 or not all(type(n) is int and 0 < n < 65536 for n in found) or found[0] > found[1]:
        raise read.wrong(where, "ports", N_("Write the lowest and the highest port: [20000, 29999]."))
    return found[0], found[1]


def _network(where: str, value: Any) -> str:
    name = read.text(where, "network", value)
    if not read.WORD.fullmatch(name) or name in ("none", "container", "default"):
        raise read.wrong(where, "network", N_("Write bridge, host, or the name of a network of the engine."))
    return name


def _secrets(where: str, value: Any) -> str:
    if value not in ("environment", "files"):
        raise read.wrong(where, "secrets", N_("Write environment or files."))
    return str(value)


def _roles(where: str, values: Mapping[str, Any]) -> Mapping[Role, RoleOptions]:
    """Each role's own options over those that stand above for all of them."""
    given = read.mapping(where, "roles", values.get("roles", {}))
    read.refuse_unknown(where, "roles.", given, [role.value for role in Role])
    shared = {key: value for key, value in values.items() if key in OPTIONS}
    RoleOptions.of(where, "", shared)  # so that a wrong one is named where it stands
    made = {}
    for role in Role:
        under = f"roles.{role.value}"
        own = read.mapping(where, under, given.get(role.value, {}))
        RoleOptions.of(where, f"{under}.", own)
        made[role] = RoleOptions.of(where, f"{under}.", {**shared, **own})
    return made


def _check_together(where: str, settings: DockerSettings, role: Role, options: RoleOptions) -> None:
    key = f"roles.{role.value}"
    if settings.network == "host" and options.networks:
        raise read.wrong(where, f"{key}.networks", N_("A container in the host's network joins no other."))
    if options.memory and options.memory_reservation > options.memory:
        raise read.wrong(where, f"{key}.memory_reservation", N_("It may not be more than memory."))
    filled = [settings.config, *(["/run/secrets"] if settings.secrets == "files" else [])]
    for target in [*options.tmpfs, *(volume.target for volume in options.volumes)]:
        if any(place == target or place.startswith(f"{target}/") for place in filled):
            kind = "tmpfs" if target in options.tmpfs else "volumes"
            raise read.wrong(where, f"{key}.{kind}", N_("It would hide configuration or secrets put there."))
