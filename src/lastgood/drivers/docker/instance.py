"""One container of ours as it was observed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lastgood.domain.errors import InvalidInput
from lastgood.domain.unit import Role, UnitId
from lastgood.drivers.docker import labels
from lastgood.drivers.docker.engine import moment

ACTIVE = ("running", "restarting", "paused")
EXIT_CODE = re.compile(r"\((\d+)\)")


@dataclass(frozen=True)
class Instance:
    """``state`` is the engine's word: created, running, restarting, paused, exited, dead, removing.

    ``pid`` is -1 while it waits to be restarted. ``created``, ``started`` and ``ended`` are Unix times, 0 for
    never. ``health`` is starting, healthy, unhealthy, or empty where the image has no check. ``inspected`` is
    all that the engine says of it, None when it was only listed.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    state: str
    created: float = 0.0
    exit_code: int = 0
    pid: int = 0
    started: float = 0.0
    ended: float = 0.0
    restarts: int = 0
    health: str = ""
    error: str = ""
    out_of_memory: bool = False
    inspected: Mapping[str, Any] | None = None

    @property
    def generation(self) -> str:
        return self.labels.get(labels.GENERATION, "")

    @property
    def role(self) -> Role:
        return Role(self.labels[labels.ROLE])

    @property
    def number(self) -> int:
        return _whole(self.labels.get(labels.INSTANCE, ""))

    @property
    def replicas(self) -> int:
        return max(1, _whole(self.labels.get(labels.REPLICAS, "")))

    @property
    def spec(self) -> str:
        return self.labels.get(labels.SPEC, "")

    @property
    def port(self) -> int:
        """0 for a role that does not listen."""
        return _whole(self.labels.get(labels.PORT, ""))

    @property
    def grace(self) -> float:
        try:
            return float(self.labels.get(labels.GRACE, ""))
        except ValueError:
            return 5.0

    @property
    def is_active(self) -> bool:
        """Whether it runs, or will again without being asked."""
        return self.state in ACTIVE

    @property
    def runs(self) -> bool:
        return self.state == "running"

    def is_in_place(self, unit: UnitId) -> bool:
        """Whether it is an instance that was completed, and not one that is being made or was set aside."""
        try:
            return self.name == labels.instance_name(unit, self.generation, self.role, self.number)
        except (InvalidInput, ValueError, KeyError):
            return False


def listed(entry: Mapping[str, Any]) -> Instance:
    """From an entry of ``GET /containers/json``: no pid, no times, no count of restarts."""
    code = EXIT_CODE.search(entry["Status"])
    return Instance(
        entry["Id"],
        entry["Names"][0].lstrip("/") if entry["Names"] else "",
        entry["Labels"] or {},
        entry["State"],
        float(entry["Created"]),
        int(code[1]) if code else 0,
    )


def inspected(found: Mapping[str, Any]) -> Instance:
    """From ``GET /containers/…/json``."""
    state = found["State"]
    status = state["Status"]
    return Instance(
        found["Id"],
        found["Name"].lstrip("/"),
        found["Config"]["Labels"] or {},
        status,
        moment(found["Created"]),
        state["ExitCode"],
        -1 if status == "restarting" else state["Pid"] if status in ACTIVE else 0,
        moment(state["StartedAt"]),
        moment(state["FinishedAt"]),
        found["RestartCount"],
        health_of(state) if status == "running" else "",
        state["Error"],
        state["OOMKilled"],
        found,
    )


def health_of(state: Mapping[str, Any]) -> str:
    status = str((state.get("Health") or {}).get("Status", ""))
    return "" if status == "none" else status


def _whole(text: str) -> int:
    return int(text) if text.isdigit() else 0
