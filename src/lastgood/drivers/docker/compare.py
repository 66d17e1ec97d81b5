"""How a container that is there differs from what is wanted. What it says holds no value of a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lastgood.domain.digest import digest_bytes
from lastgood.domain.errors import DriverError
from lastgood.domain.observation import DriftKind
from lastgood.domain.release import FileEntry, SecretVersion
from lastgood.drivers.docker.content import files_in
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.instance import Instance
from lastgood.drivers.docker.wanted import Wanted
from lastgood.ports.content import Vault

LIMITS = {
    "Memory": "MemoryLimit",
    "MemoryReservation": "MemoryLimit",
    "NanoCpus": "CpuCfsQuota",
    "PidsLimit": "PidsLimit",
}
"""What ``docker update`` changes, and how the engine says whether its kernel can keep it: where it can't, it
leaves the limit out.
"""
Info = Callable[[], Mapping[str, Any]]


def values_of(secrets: Sequence[SecretVersion], vault: Vault) -> dict[str, str]:
    """By name; empty without the key: then nothing can be said of them."""
    try:
        return {secret.name: vault.unseal(secret) for secret in secrets}
    except DriverError:
        return {}


def other_content(wanted: Wanted, seen: Instance, secrets: Mapping[str, str]) -> Iterator[str]:
    """Image and environment. Somebody who makes a container again may well give it our labels."""
    there = _there(seen)
    image = wanted.image
    if there["Image"] not in (image.config, image.manifest, image.digest):
        yield f"it runs another image: {there['Image']}"
    env = dict(line.partition("=")[::2] for line in there["Config"]["Env"] or ())
    for name, value in wanted.environment(str(seen.port or ""), secrets).items():
        if env.get(name) != value:
            yield f"its environment variable {name} differs"


def other_limits(wanted: Wanted, seen: Instance, info: Info) -> Iterator[str]:
    """``info`` is asked only when something differs."""
    released, there = wanted.body("", "", {})["HostConfig"], _there(seen)["HostConfig"]
    for key, support in LIMITS.items():
        wants, has = released.get(key) or 0, there.get(key) or 0
        if wants != has and info().get(support, True):
            yield f"{key} is {has}, released was {wants}"


def other_networks(wanted: Wanted, seen: Instance) -> Iterator[str]:
    joined = set(_there(seen)["NetworkSettings"]["Networks"])
    named = {wanted.settings.network, *wanted.options.networks}
    yield from (f"it is not in network {name}" for name in sorted(named - joined) if seen.runs)
    yield from (f"it is in network {name}" for name in sorted(joined - named))


def other_policy(seen: Instance) -> Iterator[str]:
    if seen.runs and _there(seen)["HostConfig"]["RestartPolicy"]["Name"] != "always":
        yield "it would not come back after a crash: its restart policy was changed"


def other_files(wanted: Wanted, seen: Instance, engine: Engine) -> Iterator[tuple[str, DriftKind]]:
    """Paths of configuration in the container that are missing, changed, or there in addition."""
    for place, what in wanted.filled():
        if what == "files":
            tar = engine.get(seen.id, place)
            changed = changed_files(wanted.generation.files, files_in(tar) if tar else {})
            yield from ((f"{place}/{path}", kind) for path, kind in changed)


def changed_files(
    wanted: Iterable[FileEntry], there: Mapping[str, tuple[bytes, int]]
) -> Iterator[tuple[str, DriftKind]]:
    """By path, how files differ in content or mode."""
    left = dict(there)
    for entry in wanted:
        content, mode = left.pop(entry.path, (None, 0))
        if content is None:
            yield entry.path, DriftKind.MISSING
        elif digest_bytes(content) != entry.content or mode != entry.mode:
            yield entry.path, DriftKind.CHANGED
    yield from ((path, DriftKind.UNKNOWN) for path in sorted(left))


def _there(seen: Instance) -> Mapping[str, Any]:
    assert seen.inspected is not None, "it was only listed"
    return seen.inspected
