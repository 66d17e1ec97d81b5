"""What containers are seen to do: roles with all their instances, and what keeps one from being ready."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lastgood.domain.redactor import Redactor
from lastgood.domain.unit import Role
from lastgood.drivers.docker import compare
from lastgood.drivers.docker.engine import Engine
from lastgood.drivers.docker.instance import Instance
from lastgood.drivers.docker.settings import DockerSettings
from lastgood.drivers.docker.wanted import Wanted
from lastgood.ports.content import Vault
from lastgood.ports.drivers import RoleStatus

PROBE_TIMEOUT = 1.0
STEADY = 0.3
"""Seconds that a role without a probe must have been up to count as ready."""
STEADY_AGAIN = 5.0
"""The same for one that ended unwanted before: it may be about to do so again."""
CRASH_LOOP = 3
"""So many unwanted ends, the last after a short run, and nobody waits for it any longer."""
SHORT_RUN = 10.0
CHECK_SECONDS = 10.0
WORDS = 300


@dataclass(frozen=True)
class Amiss:
    """What keeps an instance from being ready. ``hopeless``: waiting will not mend it."""

    words: str
    hopeless: bool = False


def together(
    generation: str, role: Role, instances: Sequence[Instance], settings: DockerSettings, wanted: int = 0
) -> RoleStatus:
    """The instances of one role as one; ``wanted`` of them, 0: as many as their labels say."""
    running = [i for i in instances if i.runs]
    replicas = wanted or max((i.replicas for i in instances), default=1)
    active = [i for i in instances if i.is_active]
    return RoleStatus(
        generation,
        role,
        len(running) >= replicas,
        next((i.pid for i in (*running, *active) if i.pid), 0),
        max((i.started for i in running), default=0.0),
        tuple(sorted(f"{settings.address}:{i.port}" for i in running if i.port)),
        sum(i.restarts for i in instances),
        "; ".join(dict.fromkeys(state_of(i) for i in instances if not i.runs)),
    )


def state_of(instance: Instance) -> str:
    """In words, for one that does not run."""
    times = f", {instance.restarts} times" if instance.restarts > 1 else ""
    if instance.state == "created":
        return f"can't be started: {_last_clause(instance.error)}" if instance.error else "not started yet"
    if instance.out_of_memory:
        limit = ((instance.inspected or {}).get("HostConfig") or {}).get("Memory", 0)
        had = f" of {limit / (1 << 20):g} MiB" if limit else ""
        return f"ran out of its memory{had} and was killed{times}"
    if instance.state in ("exited", "restarting", "dead"):
        return f"exited with {instance.exit_code}{times}"
    return instance.state


class Readiness:
    """Looks once at each instance of a role that is wanted."""

    def __init__(self, engine: Engine, settings: DockerSettings, vault: Vault) -> None:
        self._engine = engine
        self._settings = settings
        self._vault = vault
        self._secrets: dict[str, str] = {}
        self._redactor = Redactor(None)

    def look(self, wanted: Sequence[Wanted], found: Mapping[str, Instance]) -> RoleStatus:
        """``found`` by name. ``running`` of the answer means ready."""
        first = wanted[0]
        self._secrets = compare.values_of(first.generation.secrets, self._vault)
        known = len(self._secrets) == len(first.generation.secrets)
        self._redactor = Redactor(self._secrets if known else None)
        seen = together(first.generation.id, first.role, list(found.values()), self._settings, len(wanted))
        if not found:
            return replace(seen, running=False, detail="was never started")
        amiss = [self._amiss(one, found.get(one.name)) for one in wanted]
        words = [_named(one, a, len(wanted)) for one, a in zip(wanted, amiss, strict=True) if a is not None]
        hopeless = any(a is not None and a.hopeless for a in amiss)
        return replace(seen, running=not words, detail="; ".join(words), hopeless=hopeless)

    def _amiss(self, wanted: Wanted, seen: Instance | None) -> Amiss | None:
        if seen is None:
            return Amiss("there is no container of it")
        if seen.spec != wanted.digest:
            return Amiss(f"the container {seen.name} was made from something else")
        if changed := next(compare.other_content(wanted, seen, self._secrets), ""):
            return Amiss(f"somebody made the container {seen.name} again: {changed}")
        if not seen.runs:
            return self._down(seen)
        if seen.health == "unhealthy":
            return Amiss(self._clean(f"its health check fails: {_last_check(seen)}"))
        path = wanted.spec.ready.path if wanted.role is Role.WEB and wanted.spec.ready else ""
        if path and (words := probe(self._settings.address, seen.port, path)):
            return Amiss(self._with_last_line(seen, words))
        if not path or seen.restarts:
            needed = STEADY_AGAIN if seen.restarts else STEADY
            age = self._engine.now() - seen.started
            if age < needed:
                again = f" after {seen.restarts} unwanted ends" if seen.restarts else ""
                return Amiss(f"up for {max(age, 0):.2f} s only{again}")
        if seen.health == "starting" and not self._passes_its_check(seen):
            return Amiss("its health check does not pass yet")
        return None

    def _down(self, seen: Instance) -> Amiss:
        words = state_of(seen)
        if seen.state == "created":
            return Amiss(self._clean(words), bool(seen.error))
        line = self._last_line(seen)
        looping = seen.restarts >= CRASH_LOOP and seen.ended - seen.started < SHORT_RUN
        hopeless = "exec format error" in line or looping or bool(seen.error)
        if "exec format error" in line:
            words += ", its image is made for other processors"
        return Amiss(f"{words}: {line}" if line else words, hopeless)

    def _passes_its_check(self, seen: Instance) -> bool:
        """Runs the image's own check now: the engine's first one may be half a minute away."""
        assert seen.inspected is not None
        config = seen.inspected["Config"]
        kind, *argv = config["Healthcheck"]["Test"]
        if kind == "CMD-SHELL":
            argv = [*(config.get("Shell") or ["/bin/sh", "-c"]), *argv]
        return self._engine.execute(seen.id, argv, CHECK_SECONDS) == 0

    def _with_last_line(self, seen: Instance, words: str) -> str:
        if seen.restarts:
            words = f"{words}, after {seen.restarts} unwanted ends"
        line = self._last_line(seen)
        return f"{words} (it last said: {line})" if line else words

    def _last_line(self, seen: Instance) -> str:
        lines = [line for line in self._engine.logs(seen.id, 5).splitlines() if line.strip()]
        return self._clean(lines[-1].strip().decode(errors="replace")) if lines else ""

    def _clean(self, text: str) -> str:
        return self._redactor.clean(text.encode()).decode(errors="replace").strip()[:WORDS]


def probe(host: str, port: int, path: str) -> str:
    """What is wrong with the answer to GET ``path``, empty for a 2xx."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", path, headers={"User-Agent": "lastgood", "Connection": "close"})
        answer = connection.getresponse()
        answer.read(1)
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path} on {host}:{port}: {error or type(error).__name__}"
    finally:
        connection.close()
    return "" if 200 <= answer.status < 300 else f"GET {path} on {host}:{port} answered {answer.status}"


def by_role(instances: Iterable[Instance]) -> dict[tuple[str, Role], list[Instance]]:
    """Instances by (generation, role), sorted by both and by number."""
    found: dict[tuple[str, Role], list[Instance]] = {}
    for instance in sorted(instances, key=lambda i: (i.generation, list(Role).index(i.role), i.number)):
        found.setdefault((instance.generation, instance.role), []).append(instance)
    return found


def _named(wanted: Wanted, amiss: Amiss, replicas: int) -> str:
    return f"{wanted.role.value} {wanted.number}: {amiss.words}" if replicas > 1 else amiss.words


def _last_check(seen: Instance) -> str:
    log: Sequence[Mapping[str, Any]] = (seen.inspected or {})["State"]["Health"]["Log"] or []
    return (
        " ".join(str(log[-1]["Output"]).split()) or f"exit code {log[-1]['ExitCode']}" if log else "no output"
    )


def _last_clause(error: str) -> str:
    """The engine nests messages, the outermost first; what is wrong comes last."""
    return error.removesuffix(": unknown").rpartition("unable to start container process: ")[2]
