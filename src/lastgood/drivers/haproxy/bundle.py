"""Sending traffic by hand: shell lines for the day without lastgood. No I/O."""

from __future__ import annotations

from lastgood.drivers.haproxy.settings import Settings


def route_lines(settings: Settings, generation: str) -> tuple[str, ...]:
    """POSIX shell that reads ``ADDRESSES``, with socat and awk."""
    return ()
