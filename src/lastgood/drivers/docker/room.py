"""Whether a second generation fits beside what runs on the engine's machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lastgood.domain.errors import Rejected
from lastgood.domain.message import N_
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.drivers.docker.wanted import Wanted

MEMINFO = Path("/proc/meminfo")
MIB = 1 << 20


def refuse_without_memory(engine: Engine, settings: DockerSettings, wanted: Iterable[Wanted]) -> None:
    """``wanted`` are those that do not run yet. Raises Rejected when their declared needs are not free."""
    need = sum(one.options.need for one in wanted)
    if not need:
        return
    free = _available() if settings.is_local else _left(engine)
    if need > free:
        raise Rejected(
            N_("there is not enough memory on {host}: {need} MiB are wanted, {free} MiB are free"),
            todo=N_("Stop something there, give it more memory, or lower 'memory' in the role's options."),
            where=engine.host,
            host=engine.host,
            need=-(-need // MIB),
            free=free // MIB,
        )


def _available() -> int:
    """What the kernel of this machine says can be had without swapping."""
    for line in MEMINFO.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _left(engine: Engine) -> int:
    """Of another machine only containers can be seen: all memory, less what they use without caches. What
    runs there outside of containers is not known.
    """
    running = [entry["Id"] for entry in engine.containers([]) if entry["State"] in ("running", "paused")]
    return int(engine.info()["MemTotal"]) - sum(_used(engine.usage(id)) for id in running)


def _used(usage: Mapping[str, Any]) -> int:
    memory = usage.get("memory_stats") or {}
    details = memory.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    return max(0, int(memory.get("usage", 0)) - int(cache))
