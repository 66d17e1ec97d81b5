"""Runs generations of a unit as local processes, side by side, each under a shim of its own.

``root/artifacts/<digest>/…`` and ``root/<unit.slug>/<generation>/`` with spec, state and logs.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lastgood.domain.digest import digest, short
from lastgood.domain.errors import InvalidInput, OutcomeUnknown
from lastgood.domain.message import N_
from lastgood.domain.observation import EvidenceItem, Observation
from lastgood.domain.unit import Role, UnitId
from lastgood.drivers.process import artifact, layout, logs, look, proc
from lastgood.drivers.process.faults import mapped
from lastgood.drivers.process.redact import redactor_for
from lastgood.drivers.process.settings import ProcessSettings
from lastgood.drivers.process.spec import make_spec
from lastgood.drivers.process.supervise import end_orphans, shim_is_alive, wake_or_spawn
from lastgood.ports.content import DriverTools
from lastgood.ports.drivers import Generation, RoleStatus

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
LATELY = 24 * 3600.0
EVIDENCE_SIZE = 200 * 1024
LOOK_EVERY = 0.02
FORCE_TIME = 5.0
"""Seconds that the end by force may take after the grace."""


def create(unit: UnitId, settings: Mapping[str, Any], tools: DriverTools) -> object:
    """The driver of one unit. Raises InvalidInput naming the wrong or missing setting."""
    return ProcessDriver(unit, ProcessSettings.parse(settings, str(unit)), tools)


class ProcessDriver:
    """Runs, Observes and GivesEvidence."""

    def __init__(self, unit: UnitId, settings: ProcessSettings, tools: DriverTools) -> None:
        self._unit = unit
        self._settings = settings
        self._tools = tools
        self._place = settings.root / unit.slug
        self._artifacts = settings.root / "artifacts"

    # Runs

    def prepare(self, generation: Generation) -> None:
        """Raises InvalidInput (digest and files disagree), Rejected (disk, rights) and what objects raise."""
        home = self._home(generation.id)
        with mapped(self._settings.root):
            self._make_folders(home)
            if generation.artifact is not None:
                artifact.bring(self._artifacts, generation.artifact, self._tools.objects)

    def start(self, generation: Generation, roles: Sequence[Role]) -> None:
        """Repeating it is safe at any time; a dead shim is replaced, and its children adopted.

        Raises InvalidInput for a role or artifact that is not there, OutcomeUnknown when the shim
        does not answer (what is wished is written down all the same).
        """
        home = self._home(generation.id)
        spec = make_spec(generation, self._settings, str(home), self._artifact_of(generation))
        for role in roles:
            if role.value not in spec["roles"]:
                raise InvalidInput(
                    N_("generation {generation} has no role {role}"),
                    where=str(self._unit),
                    generation=generation.id,
                    role=role.value,
                )
        with mapped(home):
            self._make_folders(home)
            with self._changing(home):
                if layout.read(str(home), layout.SPEC).get("of") != spec["of"]:
                    layout.write(str(home), layout.SPEC, spec)
                sequence = self._wish(home, [r.value for r in roles], run=True)
                wake_or_spawn(str(home), sequence, generation.secrets, self._tools.vault)

    def ready(self, generation: Generation, role: Role) -> RoleStatus:
        """``running`` is true only when the role is ready; a pid with ``detail`` is one that is not yet."""
        home = str(self._home(generation.id))
        spec, state = layout.read(home, layout.SPEC), layout.read(home, layout.STATE)
        if role.value not in spec.get("roles", {}):
            return RoleStatus(generation.id, role, False, detail="was never started")
        seen = look.status_of(home, spec, state, role.value, proc.boot())
        if seen.running:
            amiss = look.not_ready(home, spec, state, seen)
            return replace(seen, running=not amiss, detail=amiss)
        words = look.last_words(home, role.value, redactor_for(spec, self._tools.vault))
        return replace(seen, detail=": ".join(t for t in (seen.detail or "not started yet", words) if t))

    def stop(self, generation: str, roles: Sequence[Role]) -> None:
        """Returns when they are gone, with all their descendants. Raises OutcomeUnknown when they stay."""
        home = self._home(generation)
        spec = layout.read(str(home), layout.SPEC)
        names = [r.value for r in roles if r.value in spec.get("roles", {})]
        if not names:
            return
        grace = max(spec["roles"][name]["grace"] for name in names)
        with mapped(home):
            for _ in range(3):  # again when the shim dies in between
                with self._changing(home):
                    sequence = self._wish(home, names, run=False)
                    if not shim_is_alive(str(home)):
                        end_orphans(str(home), names, grace)
                if self._are_gone(str(home), names, sequence, grace + FORCE_TIME):
                    return
        raise OutcomeUnknown(
            N_("{roles} of generation {generation} did not end"),
            todo=N_("Look at its processes and its shim.log in {directory}."),
            where=str(self._unit),
            roles=", ".join(names),
            generation=generation,
            directory=str(home),
        )

    def status(self) -> tuple[RoleStatus, ...]:
        boot = proc.boot()
        return tuple(
            look.status_of(home, spec, state, role, boot)
            for home, spec in self._known()
            for state in (layout.read(home, layout.STATE),)
            for role in spec["roles"]
        )

    # Observes

    def observe(self) -> Observation:
        """The fingerprint covers which roles of which generations run, not their pids."""
        now = datetime.now(UTC)
        seen = self.status()
        facts: dict[str, Any] = {"generations": {}}
        for s in seen:
            roles = facts["generations"].setdefault(s.generation, {})
            roles[s.role.value] = {
                "running": s.running,
                "pid": s.pid,
                "address": "".join(s.addresses),
                "detail": s.detail,
            }
        return Observation(digest(sorted((s.generation, s.role.value, s.running) for s in seen)), now, facts)

    # GivesEvidence

    def evidence(self) -> Sequence[EvidenceItem]:
        """Logs and state of every generation that runs or wrote a log within a day, without secrets."""
        items = []
        for home, spec in self._known():
            directory = Path(home)
            files = [p for p in (*sorted(directory.glob("logs/*.log")), directory / "shim.log") if p.exists()]
            if not any(time.time() - p.stat().st_mtime < LATELY for p in files):
                continue
            redactor = redactor_for(spec, self._tools.vault)
            for path in files:
                content = redactor.clean(logs.tail(str(path), EVIDENCE_SIZE + redactor.longest))
                items.append(EvidenceItem(f"{directory.name}/{path.name}", _last_lines(content)))
            state = directory / layout.STATE
            if state.exists():
                items.append(EvidenceItem(f"{directory.name}/{layout.STATE}", state.read_bytes()))
        return items

    # Within

    def _home(self, generation: str) -> Path:
        name = short(generation) if generation.startswith("sha256:") else generation
        if not NAME.fullmatch(name):
            raise InvalidInput(
                N_("'{generation}' is not the name of a generation"),
                where=str(self._unit),
                generation=generation,
            )
        return self._place / name

    def _make_folders(self, home: Path) -> None:
        root = self._settings.root
        for folder in (root, self._artifacts, root / "ports", self._place, home, home / "logs"):
            folder.mkdir(exist_ok=True)

    def _artifact_of(self, generation: Generation) -> str:
        if generation.artifact is None:
            return ""
        place = artifact.place_of(self._artifacts, generation.artifact)
        if not place.is_dir():
            raise InvalidInput(
                N_("the artifact of generation {generation} is not in place"),
                todo=N_("Prepare the generation before starting it."),
                where=str(place),
                generation=generation.id,
            )
        return str(place)

    @contextmanager
    def _changing(self, home: Path) -> Iterator[None]:
        lock = layout.lock(str(home / layout.CHANGE_LOCK), wait=True)
        try:
            yield
        finally:
            os.close(lock)

    def _wish(self, home: Path, roles: Sequence[str], run: bool) -> int:
        wishes = layout.read(str(home), layout.DESIRED) or {"sequence": 0, "roles": {}}
        wishes["sequence"] += 1
        for role in roles:
            before = wishes["roles"].get(role, {}).get("asked", 0)
            wishes["roles"][role] = {"run": run, "asked": wishes["sequence"] if run else before}
        layout.write(str(home), layout.DESIRED, wishes)
        if not run:
            shim = layout.read(str(home), layout.STATE).get("shim", {})
            proc.send(shim.get("pid", 0), shim.get("ticks", 0), signal.SIGHUP)
        sequence: int = wishes["sequence"]
        return sequence

    def _are_gone(self, home: str, roles: Sequence[str], sequence: int, timeout: float) -> bool:
        """False too when the shim died meanwhile and somebody is left: then they are ended without it."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            state = layout.read(home, layout.STATE)
            shim, slots = state.get("shim", {}), state.get("roles", {})
            alive = proc.is_running(shim.get("pid", 0), shim.get("ticks", 0))
            gone = not any(_members(home, slots, role) for role in roles)
            if gone and (not alive or state["sequence"] >= sequence):
                return True
            if not alive:
                return False
            time.sleep(LOOK_EVERY)
        return False

    def _known(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if not self._place.is_dir():
            return
        for home in sorted(self._place.iterdir()):
            spec = layout.read(str(home), layout.SPEC)
            if spec:
                yield str(home), spec


def _members(home: str, slots: Mapping[str, Any], role: str) -> list[int]:
    slot = slots.get(role, {})
    return proc.members(slot.get("pid", 0), slot.get("ticks", 0), layout.marker(home, role))


def _last_lines(content: bytes) -> bytes:
    """At most EVIDENCE_SIZE bytes; a first line that was cut goes, as it may end in half a secret."""
    if len(content) <= EVIDENCE_SIZE:
        return content
    return content[-EVIDENCE_SIZE:].partition(b"\n")[2]
