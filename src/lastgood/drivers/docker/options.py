"""What a role asks of its containers. The keys and their values are those of Compose, where it has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lastgood.domain.message import N_
from lastgood.drivers.docker import fields as read

VOLUME = re.compile(r"(?P<source>[A-Za-z0-9][A-Za-z0-9_.-]*|/[^:]*):(?P<target>/[^:]+?)(?::(?P<mode>ro|rw))?")
HOST = re.compile(r"[A-Za-z0-9._-]+:\S+")
SIGNAL = re.compile(r"SIG[A-Z0-9+-]+|[0-9]{1,2}")


@dataclass(frozen=True)
class Volume:
    """``source``: a named volume, or an absolute directory or file of the engine's machine."""

    source: str
    target: str
    read_only: bool = False

    @property
    def is_bind(self) -> bool:
        return self.source.startswith("/")


@dataclass(frozen=True)
class Log:
    """Where the output goes: a log driver of the engine and its options."""

    driver: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ulimit:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True)
class RoleOptions:
    """Sizes are bytes; 0, empty and None mean: as the engine or the image has it.

    ``port`` is what a role that listens listens on inside its container. ``memory`` is a limit and also the
    need, when it is asked whether there is room; ``memory_reservation`` is the need where the limit is
    generous. ``networks`` are joined besides the first one. ``healthcheck``: the image's own one counts,
    which is wrong for a worker in an image whose check asks a web server.
    """

    port: int = 8080
    memory: int = 0
    memory_reservation: int = 0
    cpus: float = 0.0
    pids: int = 0
    networks: tuple[str, ...] = ()
    volumes: tuple[Volume, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    user: str = ""
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = None
    log: Log | None = None
    extra_hosts: tuple[str, ...] = ()
    ulimits: tuple[Ulimit, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    shm_size: int = 0
    stop_signal: str = ""
    init: bool = False
    healthcheck: bool = True

    @property
    def need(self) -> int:
        """Bytes of memory that one instance is expected to take, 0 when nothing was declared."""
        return self.memory_reservation or self.memory

    @classmethod
    def of(cls, where: str, under: str, values: Mapping[str, Any]) -> RoleOptions:
        """Raises InvalidInput naming the option that is unknown or wrong; ``under`` is the key above."""
        read.refuse_unknown(where, under, values, OPTIONS)
        return cls(**{key: READ[key](where, f"{under}{key}", value) for key, value in values.items()})


def _volumes(where: str, key: str, value: Any) -> tuple[Volume, ...]:
    found = [VOLUME.fullmatch(item) for item in read.texts(where, key, value)]
    made = [Volume(m["source"], m["target"], m["mode"] == "ro") for m in found if m is not None]
    if len(made) != len(found):
        raise read.wrong(where, key, N_("Write name:/path or /directory:/path, with :ro for read-only."))
    for volume in made:
        read.inside(where, key, volume.target)
    if len({v.target for v in made}) != len(made):
        raise read.wrong(where, key, N_("Two of them have the same path in the container."))
    return tuple(made)


def _tmpfs(where: str, key: str, value: Any) -> Mapping[str, str]:
    """``[/run, /tmp:size=16m]``."""
    found = dict(item.partition(":")[::2] for item in read.texts(where, key, value))
    for path in found:
        read.inside(where, key, path)
    return found


def _log(where: str, key: str, value: Any) -> Log:
    given = read.mapping(where, key, value)
    read.refuse_unknown(where, f"{key}.", given, ("driver", "options"))
    options = read.mapping(where, f"{key}.options", given.get("options", {}))
    driver = read.text(where, f"{key}.driver", given.get("driver"))
    return Log(driver, {str(name): str(option) for name, option in options.items()})


def _hosts(where: str, key: str, value: Any) -> tuple[str, ...]:
    found = read.texts(where, key, value)
    if not all(HOST.fullmatch(item) for item in found):
        raise read.wrong(where, key, N_("Write a list of name:address."))
    return found


def _healthcheck(where: str, key: str, value: Any) -> bool:
    """``{disable: true}``."""
    given = read.mapping(where, key, value)
    read.refuse_unknown(where, f"{key}.", given, ("disable",))
    return not read.flag(where, f"{key}.disable", given.get("disable"))


def _ulimits(where: str, key: str, value: Any) -> tuple[Ulimit, ...]:
    """``{nofile: 65536, nproc: {soft: 64, hard: 128}}``."""
    made = []
    for name, limit in sorted(read.mapping(where, key, value).items()):
        both = limit if isinstance(limit, Mapping) else {"soft": limit, "hard": limit}
        read.refuse_unknown(where, f"{key}.{name}.", both, ("soft", "hard"))
        soft = read.whole(where, f"{key}.{name}.soft", both.get("soft"))
        made.append(Ulimit(name, soft, read.whole(where, f"{key}.{name}.hard", both.get("hard"))))
    return tuple(made)


def _signal(where: str, key: str, value: Any) -> str:
    if not SIGNAL.fullmatch(str(value)) or isinstance(value, bool):
        raise read.wrong(where, key, N_("Write a signal such as SIGTERM."))
    return str(value)


READ: Mapping[str, Callable[[str, str, Any], Any]] = {
    "port": read.port,
    "memory": read.size,
    "memory_reservation": read.size,
    "cpus": read.number,
    "pids": read.whole,
    "networks": read.words,
    "volumes": _volumes,
    "tmpfs": _tmpfs,
    "read_only": read.flag,
    "user": read.text,
    "working_dir": read.inside,
    "entrypoint": read.texts,
    "log": _log,
    "extra_hosts": _hosts,
    "ulimits": _ulimits,
    "cap_add": read.words,
    "cap_drop": read.words,
    "security_opt": read.texts,
    "shm_size": read.size,
    "stop_signal": _signal,
    "init": read.flag,
    "healthcheck": _healthcheck,
}
OPTIONS = tuple(f.name for f in fields(RoleOptions))
