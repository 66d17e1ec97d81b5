"""The body of a create call as options of the ``docker create`` command: pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]


def create_options(body: Json, unsaid: Iterable[str] = ()) -> list[str]:
    """Without name, image and command. The values of ``unsaid`` environment variables stand nowhere: they are
    taken from the environment of the shell that runs it.
    """
    hidden = {*unsaid}
    named = [(line.partition("=")[0], line) for line in body["Env"]]
    found = _each("--env", (name if name in hidden else line for name, line in named))
    found += _each("--label", (f"{name}={value}" for name, value in body["Labels"].items()))
    found += _plain(body, CONFIG)
    if body.get("Entrypoint") is not None:
        found += ["--entrypoint", next(iter(body["Entrypoint"]), "")]
    found += _each("--volume", body.get("Volumes", {}))
    host = body["HostConfig"]
    found += _plain(host, HOST)
    found += [flag for key, flag in FLAGS.items() if host.get(key)]
    found += ["--no-healthcheck"] if "Healthcheck" in body else []
    for key, write in LISTS.items():
        found += write(host.get(key) or ())
    if "LogConfig" in host:
        found += ["--log-driver", host["LogConfig"]["Type"]]
        found += _each(
            "--log-opt", (f"{name}={value}" for name, value in host["LogConfig"]["Config"].items())
        )
    return found


def arguments(body: Json) -> list[str]:
    """What stands behind the image: the rest of the entrypoint, and the command."""
    return [*(body.get("Entrypoint") or [])[1:], *(body.get("Cmd") or [])]


CONFIG = {
    "User": "--user",
    "WorkingDir": "--workdir",
    "StopSignal": "--stop-signal",
    "StopTimeout": "--stop-timeout",
}
HOST = {
    "NetworkMode": "--network",
    "Memory": "--memory",
    "MemorySwap": "--memory-swap",
    "MemoryReservation": "--memory-reservation",
    "PidsLimit": "--pids-limit",
    "ShmSize": "--shm-size",
}
FLAGS = {"ReadonlyRootfs": "--read-only", "Init": "--init"}


def _plain(values: Json, names: Mapping[str, str]) -> Iterator[str]:
    for key, option in names.items():
        if key in values:
            yield from (option, str(values[key]))
    if "NanoCpus" in values:
        yield from ("--cpus", f"{values['NanoCpus'] / 1e9:g}")


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def _mounts(mounts: Sequence[Json]) -> list[str]:
    return _each("--mount", (_mount(mount) for mount in mounts))


def _mount(mount: Json) -> str:
    """The command reads it as a line of CSV."""
    parts = [f"type={mount['Type']}", f"source={mount['Source']}", f"target={mount['Target']}"]
    parts += ["readonly"] if mount["ReadOnly"] else []
    return ",".join('"' + part.replace('"', '""') + '"' if set(part) & {",", '"'} else part for part in parts)


def _tmpfs(places: Mapping[str, str]) -> list[str]:
    named = dict(places)
    return _each("--tmpfs", (f"{place}:{how}" if how else place for place, how in named.items()))


def _ulimits(limits: Sequence[Json]) -> list[str]:
    return _each("--ulimit", (f"{limit['Name']}={limit['Soft']}:{limit['Hard']}" for limit in limits))


def _published(ports: Mapping[str, Sequence[Json]]) -> list[str]:
    return _each("--publish", (_binding(inner, one) for inner, bound in dict(ports).items() for one in bound))


def _binding(inner: str, bound: Json) -> str:
    ip = f"[{bound['HostIp']}]" if ":" in bound["HostIp"] else bound["HostIp"]
    return ":".join(part for part in (ip, bound["HostPort"], inner) if part)


LISTS: Mapping[str, Callable[[Any], list[str]]] = {
    "PortBindings": _published,
    "Mounts": _mounts,
    "Tmpfs": _tmpfs,
    "Ulimits": _ulimits,
    "ExtraHosts": lambda values: _each("--add-host", values),
    "CapAdd": lambda values: _each("--cap-add", values),
    "CapDrop": lambda values: _each("--cap-drop", values),
    "SecurityOpt": lambda values: _each("--security-opt", values),
}
