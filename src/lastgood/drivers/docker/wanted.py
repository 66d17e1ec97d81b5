"""A container as it has to be, as plain data for the engine: pure, and the same for the same release."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lastgood.domain.digest import digest
from lastgood.domain.errors import InvalidInput
from lastgood.domain.image import Image
from lastgood.domain.message import N_
from lastgood.domain.release import RoleSpec
from lastgood.domain.unit import Role
from lastgood.drivers.docker import labels
from lastgood.drivers.docker.options import RoleOptions
from lastgood.drivers.docker.settings import DockerSettings, is_ip
from lastgood.ports.drivers import Generation

FORMAT = 1
"""Raised when the same release has to give another container: then those that are there are made again."""
SECRETS = "/run/secrets"
Json = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """One instance of a role of a generation. ``name`` is that of its container."""

    generation: Generation
    settings: DockerSettings
    spec: RoleSpec
    number: int

    @property
    def role(self) -> Role:
        return self.spec.role

    @property
    def options(self) -> RoleOptions:
        return self.settings.role(self.role)

    @property
    def name(self) -> str:
        return labels.instance_name(self.generation.unit, self.generation.id, self.role, self.number)

    @property
    def image(self) -> Image:
        assert self.generation.image is not None
        return self.generation.image

    @property
    def listens(self) -> bool:
        return self.role is Role.WEB or any("{port}" in part for part in self.spec.command)

    @property
    def has_config(self) -> bool:
        return self.generation.config is not None or bool(self.generation.files)

    @property
    def secret_files(self) -> bool:
        return self.settings.secrets == "files" and bool(self.generation.secrets)

    @property
    def digest(self) -> str:
        """Of all it is made from, but for the port, which is chosen when it is made."""
        g, s = self.generation, self.settings
        made_from = (self.spec, self.number, self.image.config, g.files, g.config, g.secrets, self.options)
        return digest((FORMAT, g.id, g.unit, made_from, s.network, s.address, s.config, s.secrets))

    def body(self, image: str, port: str, secrets: Mapping[str, str]) -> Json:
        """For ``POST /containers/create``. ``image`` is the engine's id of it, ``port`` that of its machine
        (empty for a role that does not listen), ``secrets`` are values by name.
        """
        made: Json = {
            "Image": image,
            "Cmd": self.command(port) or None,
            "Env": [f"{name}={value}" for name, value in self.environment(port, secrets).items()],
            "Labels": self.labels(port),
            "StopTimeout": math.ceil(self.spec.stop_grace),
            "HostConfig": self._host(port),
        }
        if self.options.entrypoint is not None:
            made["Entrypoint"] = list(self.options.entrypoint)
        if not self.options.healthcheck:
            made["Healthcheck"] = {"Test": ["NONE"]}
        if self.is_published:
            made["ExposedPorts"] = {f"{self.options.port}/tcp": {}}
        if self.options.read_only and (put := [place for place, _ in self.filled()]):
            made["Volumes"] = {place: {} for place in put}
        named = {"User": "user", "WorkingDir": "working_dir", "StopSignal": "stop_signal"}
        return made | {key: v for key, name in named.items() if (v := getattr(self.options, name))}

    @property
    def is_published(self) -> bool:
        return self.listens and self.settings.network != "host"

    def inner_port(self, port: str) -> str:
        """The port it listens on where it runs; in the host's own network that is the chosen one."""
        return str(self.options.port) if self.is_published else port

    def command(self, port: str) -> list[str]:
        filled = {"{config}": self.settings.config, "{port}": self.inner_port(port)}
        return [_filled(part, filled) for part in self.spec.command]

    def environment(self, port: str, secrets: Mapping[str, str]) -> dict[str, str]:
        """What a service is told, as every runtime tells it."""
        g = self.generation
        made = {
            "LASTGOOD_UNIT": str(g.unit),
            "LASTGOOD_GENERATION": g.id,
            "LASTGOOD_CONFIG": self.settings.config if self.has_config else "",
            **self.spec.environment,
            "LASTGOOD_ROLE": self.role.value,
            "LASTGOOD_INSTANCE": str(self.number),
        }
        if self.listens:
            made["PORT"] = self.inner_port(port)
        return made | ({} if self.settings.secrets == "files" else dict(secrets))

    def labels(self, port: str) -> dict[str, str]:
        g = self.generation
        made = {
            labels.UNIT: str(g.unit),
            labels.GENERATION: g.id,
            labels.ROLE: self.role.value,
            labels.INSTANCE: str(self.number),
            labels.REPLICAS: str(self.spec.replicas),
            labels.SPEC: self.digest,
            labels.GRACE: f"{self.spec.stop_grace:g}",
            labels.SECRETS: labels.secrets_label(g.secrets),
        }
        return made | ({labels.PORT: port} if self.listens else {})

    def filled(self) -> Iterator[tuple[str, str]]:
        """(directory in the container, what is put there before it starts)."""
        if self.generation.files:
            yield self.settings.config, "files"
        if self.secret_files:
            yield SECRETS, "secrets"

    def _host(self, port: str) -> Json:
        o = self.options
        made: Json = {
            "NetworkMode": self.settings.network,
            # Never by itself before it is complete and was asked to run: start sets it, stop takes it back.
            "RestartPolicy": {"Name": "no"},
            "Memory": o.memory,
            "MemorySwap": o.memory,
            "MemoryReservation": o.memory_reservation,
            "NanoCpus": round(o.cpus * 1e9),
            "PidsLimit": o.pids or None,
            "ShmSize": o.shm_size,
            "ReadonlyRootfs": o.read_only,
            "Tmpfs": dict(o.tmpfs),
            "Mounts": list(self._mounts()),
            "ExtraHosts": list(o.extra_hosts),
            "Ulimits": [{"Name": u.name, "Soft": u.soft, "Hard": u.hard} for u in o.ulimits],
            "CapAdd": list(o.cap_add),
            "CapDrop": list(o.cap_drop),
            "SecurityOpt": list(o.security_opt),
        }
        if o.log is not None:
            made["LogConfig"] = {"Type": o.log.driver, "Config": dict(o.log.options)}
        if o.init:
            made["Init"] = True
        if self.is_published:
            bound = {"HostIp": self.host_ip, "HostPort": port}
            made["PortBindings"] = {f"{o.port}/tcp": [bound]}
        return {key: value for key, value in made.items() if value not in (0, None, [], {}, False)}

    @property
    def host_ip(self) -> str:
        """Where its port is opened: at the one address that the proxy uses, where that is known."""
        return self.settings.address if is_ip(self.settings.address) else ""

    def _mounts(self) -> Iterator[Json]:
        config = self.generation.config
        if config is not None:
            yield {"Type": "bind", "Source": str(config), "Target": self.settings.config, "ReadOnly": True}
        for volume in self.options.volumes:
            kind = "bind" if volume.is_bind else "volume"
            yield {
                "Type": kind,
                "Source": volume.source,
                "Target": volume.target,
                "ReadOnly": volume.read_only,
            }


def wanted(generation: Generation, role: Role, settings: DockerSettings) -> tuple[Wanted, ...]:
    """The instances of ``role``. Raises InvalidInput for what can't run as a container."""
    where = str(generation.unit)
    spec = next((spec for spec in generation.roles if spec.role is role), None)
    if spec is None:
        raise InvalidInput(
            N_("generation {generation} has no role {role}"),
            where=where,
            generation=generation.id,
            role=role.value,
        )
    if generation.image is None:
        raise InvalidInput(
            N_("generation {generation} has no image, and the driver docker runs images only"),
            todo=N_("Name an image in service.yaml, or use the runtime driver process for files."),
            where=where,
            generation=generation.id,
        )
    if any("{artifact}" in part for part in spec.command):
        raise InvalidInput(
            N_("the command of {role} names {artifact}, which a container has not"),
            todo=N_("Write the path inside the image."),
            where=where,
            role=role.value,
            artifact="{artifact}",
        )
    if generation.config is not None and not settings.is_local:
        raise InvalidInput(
            N_("the configuration is placed on this machine, and the engine {host} is on another"),
            todo=N_("Remove 'files' from service.yaml: then the driver docker puts it into the containers."),
            where=where,
            host=settings.host,
        )
    return tuple(Wanted(generation, settings, spec, number + 1) for number in range(spec.replicas))


def _mount(kind: str, source: str, target: str, read_only: bool) -> Json:
    return {"Type": kind, "Source": source, "Target": target, "ReadOnly": read_only}


def _filled(part: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        part = part.replace(name, value)
    return part
