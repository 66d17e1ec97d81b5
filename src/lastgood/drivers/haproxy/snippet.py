"""What a unit needs in haproxy.cfg, as lines to be copied. No I/O."""

from __future__ import annotations

from lastgood.drivers.haproxy.settings import Settings

SLOTS = 16
LEAST_SLOTS = 2
PLACEHOLDER = "free.invalid:1"
"""A name, for HAProxy takes an address out of its state file only for servers that have one; the top-level
name .invalid is reserved, and is never looked up because ``init-addr`` doesn't ask."""


def state_lines(settings: Settings) -> tuple[str, ...]:
    """How HAProxy finds its servers again after a reload or a restart."""
    return (
        "load-server-state-from-file local",
        f"server-state-file-name {settings.state_file}",
    )


def slot_line(settings: Settings, count: int = SLOTS, check: str = "inter 500ms") -> str:
    """``count`` free slots, checked as ``check`` says."""
    return (
        f"server-template {settings.slots} 1-{count} {PLACEHOLDER} "
        f"disabled check {check} init-addr last,127.0.0.1"
    )


def backend_lines(settings: Settings) -> tuple[str, ...]:
    """The whole backend, with what an existing one must have in it."""
    inside = (
        "mode http",
        "balance roundrobin",
        "option redispatch",
        *state_lines(settings),
        slot_line(settings),
    )
    return (f"backend {settings.backend}", *(f"    {line}" for line in inside))
