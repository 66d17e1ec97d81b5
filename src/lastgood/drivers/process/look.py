"""What really runs, seen in /proc and asked over HTTP; the state file only says where to look."""

from __future__ import annotations

import http.client
from typing import Any

from lastgood.domain.redactor import Redactor
from lastgood.domain.unit import Role
from lastgood.drivers.process import layout, logs, proc
from lastgood.ports.drivers import RoleStatus

PROBE_TIMEOUT = 1.0
STEADY = 0.3
"""Seconds a worker or scheduler must have been up to count as ready."""


def status_of(
    directory: str, spec: dict[str, Any], state: dict[str, Any], role: str, boot: str
) -> RoleStatus:
    """One role as observed now."""
    slot = state.get("roles", {}).get(role, {})
    shim = state.get("shim", {})
    pid, ticks = slot.get("pid", 0), slot.get("ticks", 0)
    running = state.get("boot") == boot and proc.is_running(pid, ticks)
    supervised = state.get("boot") == boot and proc.is_running(shim.get("pid", 0), shim.get("ticks", 0))
    detail = slot.get("detail", "")
    if running:
        detail = "" if supervised else "not supervised: its shim is gone; start it again"
    elif slot and not detail:
        detail = _how_it_ended(slot, supervised)
    listens = running and spec["roles"][role]["listens"]
    return RoleStatus(
        spec["id"],
        Role(role),
        running,
        pid if running else 0,
        proc.started_at(ticks) if running else 0.0,
        (f"{spec['host']}:{slot['port']}",) if listens else (),
        slot.get("restarts", 0),
        detail,
    )


def _how_it_ended(slot: dict[str, Any], supervised: bool) -> str:
    end = slot.get("exit")
    if end is None:  # the shim, if it lives, is about to write it down
        return "ended just now" if supervised else "ended, nobody saw how"
    if end.get("stopped"):
        return "stopped"
    after = f" after {end['after']} s" if end["after"] is not None else ""
    if end["signal"]:
        return f"killed by {end['signal']}{after}"
    return f"ended{after}, nobody saw how" if end["code"] is None else f"exited with {end['code']}{after}"


def last_words(directory: str, role: str, redactor: Redactor) -> str:
    """The last line of the log that says anything, at most 300 characters."""
    lines = [
        line
        for line in logs.tail(layout.path(directory, "logs", f"{role}.log"), 8192).splitlines()
        if line.strip()
    ]
    if not lines:
        return ""
    return redactor.clean(lines[-1].strip()).decode(errors="replace")[:300]


def not_ready(directory: str, spec: dict[str, Any], state: dict[str, Any], seen: RoleStatus) -> str:
    """What keeps a running role from being ready, ``""`` when nothing does."""
    slot = state["roles"][seen.role.value]
    if seen.role is not Role.WEB:
        age = proc.age(slot["ticks"])
        return "" if age >= STEADY else f"up for {age:.2f} s only"
    path = spec["roles"]["web"]["ready"]
    among = proc.members(slot["pid"], slot["ticks"], layout.marker(directory, "web"))
    if proc.listens(slot["port"], among) is False:
        return f"does not listen on {seen.addresses[0]} yet"
    return _probe(spec["host"], slot["port"], path) if path else ""


def _probe(host: str, port: int, path: str) -> str:
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
